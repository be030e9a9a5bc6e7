-- Makes the list of applied migrations. Its own table: an application's own migrations never collide with it.
-- Binds: none. Result: none.
-- Locks: takes the write lock.
CREATE TABLE IF NOT EXISTS es_migrations (
    version    INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    checksum   TEXT    NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;
