-- Removes a checkpoint.
-- Binds: ?1 consumer in its generation. Result: none.
-- Locks: takes the write lock.
DELETE FROM es_checkpoints WHERE consumer = ?1;
