-- Freezes a checkpoint, which is made if it is missing, or lets it move again.
-- Binds: ?1 consumer in its generation; ?2 now (microseconds); ?3 whether it is frozen. Result: one row: its position.
-- Locks: takes the write lock.
INSERT INTO es_checkpoints (consumer, position, updated_at, is_frozen) VALUES (?1, 0, ?2, ?3)
ON CONFLICT (consumer) DO UPDATE SET is_frozen = excluded.is_frozen
RETURNING position;
