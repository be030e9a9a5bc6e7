-- Puts a checkpoint elsewhere.
-- Binds: ?1 consumer in its generation; ?2 position; ?3 now (microseconds). Result: none.
-- Locks: takes the write lock.
UPDATE es_checkpoints SET position = ?2, updated_at = ?3 WHERE consumer = ?1;
