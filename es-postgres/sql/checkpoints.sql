-- All checkpoints.
-- Binds: none. Columns: consumer, position, updated_at, event_id. Order: consumer, bytewise. Locks: none.
SELECT c.consumer, c.position, c.updated_at, c.event_id
FROM {schema}.checkpoints c
ORDER BY c.consumer
