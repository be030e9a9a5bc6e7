-- Removes the checkpoints of a generation.
-- Binds: ?1 consumer in its generation. Result: none.
-- Locks: takes the write lock.
DELETE FROM es_checkpoints
WHERE consumer = ?1 OR (consumer > ?1 || '#' AND consumer < ?1 || '$');
