-- Makes the caller's transaction one that may write, before anything is read in it. Changes no row.
-- Binds: none. Result: none.
-- Locks: the file's only write lock, until the caller's transaction ends.
DELETE FROM es_high_water WHERE 0;
