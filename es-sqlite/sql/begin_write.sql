-- Begins a transaction that may write.
-- Binds: none. Result: none.
-- Locks: the file's only write lock, until COMMIT or ROLLBACK; waits for it up to the busy timeout.
BEGIN IMMEDIATE;
