-- Puts a checkpoint back to 0, wherever it is, unless it is frozen: no row is changed then.
-- Binds: ?1 consumer; ?2 now (microseconds). Result: none.
-- Locks: takes the write lock.
INSERT INTO es_checkpoints (consumer, position, updated_at) VALUES (?1, 0, ?2)
ON CONFLICT (consumer) DO UPDATE SET position = 0, updated_at = excluded.updated_at
WHERE NOT es_checkpoints.is_frozen;
