-- A number that changes when another connection, of this process or another, has committed.
-- Binds: none. Result: one row: data_version. Locks: none.
PRAGMA data_version;
