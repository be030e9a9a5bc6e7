-- Gives a consumer a checkpoint, unless it has one.
-- Binds: ?1 consumer; ?2 position; ?3 now (microseconds).
-- Result: one row: the checkpoint that it has now (consumer, position, updated_at).
-- Locks: takes the write lock.
INSERT INTO es_checkpoints (consumer, position, updated_at) VALUES (?1, ?2, ?3)
ON CONFLICT (consumer) DO UPDATE SET position = position
RETURNING consumer, position, updated_at;
