-- All checkpoints.
-- Binds: none. Columns: consumer, position, updated_at. Order: consumer, bytewise. Locks: none.
SELECT c.consumer, c.position, c.updated_at
FROM {schema}.checkpoints c
ORDER BY c.consumer
