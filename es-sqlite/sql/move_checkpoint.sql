-- Moves a checkpoint if it is where the caller believes it to be; one that does not exist is at 0.
-- Binds: ?1 consumer; ?2 from; ?3 to; ?4 now (microseconds).
-- Result: one row (position) if it was moved, none if it was elsewhere or is frozen.
-- Locks: takes the write lock.
INSERT INTO es_checkpoints (consumer, position, updated_at)
SELECT ?1, ?3, ?4
WHERE ?2 = 0 OR EXISTS (SELECT 1 FROM es_checkpoints c WHERE c.consumer = ?1)
ON CONFLICT (consumer) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at
WHERE es_checkpoints.position = ?2 AND NOT es_checkpoints.is_frozen
RETURNING position;
