-- Gives a consumer a checkpoint, unless it has one. A partition is given none, nor is the unpartitioned name of what
-- has partitions.
-- Binds: ?1 consumer; ?2 position; ?3 now (microseconds).
-- Result: the checkpoint that it has now (consumer, position, updated_at, event_id); none if it has other partitions.
-- Locks: takes the write lock.
INSERT INTO es_checkpoints (consumer, position, updated_at, event_id)
SELECT ?1, ?2, ?3, (SELECT e.event_id FROM es_events e WHERE e.position = ?2)
WHERE EXISTS (SELECT 1 FROM es_checkpoints c WHERE c.consumer = ?1)
   OR (
       instr(?1, '#') = 0
       AND NOT EXISTS (SELECT 1 FROM es_checkpoints c WHERE c.consumer > ?1 || '#' AND c.consumer < ?1 || '$')
   )
ON CONFLICT (consumer) DO UPDATE SET position = position
RETURNING consumer, position, updated_at, event_id;
