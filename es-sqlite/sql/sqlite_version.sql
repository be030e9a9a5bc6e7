-- The version of SQLite that this program is linked with.
-- Binds: none. Result: one row: version, as a text.
-- Locks: none.
SELECT sqlite_version() AS version;
