-- The checkpoint of a consumer.
-- Binds: $1 consumer. Columns: consumer, position, updated_at. Locks: none.
SELECT c.consumer, c.position, c.updated_at
FROM {schema}.checkpoints c
WHERE c.consumer = $1
