-- The checkpoint of a consumer.
-- Binds: $1 consumer. Columns: consumer, position, updated_at, event_id. Locks: none.
SELECT c.consumer, c.position, c.updated_at, c.event_id
FROM {schema}.checkpoints c
WHERE c.consumer = $1
