-- Freezes the checkpoints of a generation, or lets them move again.
-- Binds: ?1 consumer in its generation; ?2 whether they are frozen. Result: none.
-- Locks: takes the write lock.
UPDATE es_checkpoints
SET is_frozen = ?2
WHERE consumer = ?1 OR (consumer > ?1 || '#' AND consumer < ?1 || '$');
