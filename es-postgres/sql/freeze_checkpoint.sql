-- Freezes the checkpoints of a generation, or lets them move again.
-- Binds: $1 consumer in its generation, $2 whether they are frozen. Locks: their rows.
UPDATE {schema}.checkpoints c
SET is_frozen = $2
WHERE c.consumer = $1 OR (c.consumer > $1 || '#' AND c.consumer < $1 || '$')
