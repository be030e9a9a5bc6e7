-- Puts a checkpoint elsewhere.
-- Binds: $1 consumer, in its generation; $2 position. Locks: the consumer's row.
UPDATE {schema}.checkpoints c
SET position = $2, updated_at = clock_timestamp()
WHERE c.consumer = $1
