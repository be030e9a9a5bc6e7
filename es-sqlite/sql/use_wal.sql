-- Makes the file keep a write-ahead log, so that readers and the writer do not wait for each other. Lasts for ever.
-- Binds: none. Result: one row: the journal mode that the file has now, "wal" if it worked.
-- Locks: takes the whole file for a moment, if it was not in this mode before.
PRAGMA journal_mode = WAL;
