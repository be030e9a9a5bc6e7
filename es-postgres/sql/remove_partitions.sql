-- Removes the checkpoints of a generation.
-- Binds: $1 consumer in its generation. Locks: their rows.
DELETE FROM {schema}.checkpoints c
WHERE c.consumer = $1 OR (c.consumer > $1 || '#' AND c.consumer < $1 || '$')
