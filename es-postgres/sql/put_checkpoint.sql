-- Puts a checkpoint elsewhere.
-- Binds: $1 consumer, in its generation; $2 position. Locks: the consumer's row.
UPDATE {schema}.checkpoints c
SET position = $2,
    updated_at = clock_timestamp(),
    ahead = CASE WHEN $2 < c.position THEN NULL ELSE c.ahead END,
    layout = c.layout + CASE WHEN $2 < c.position AND c.ahead IS NOT NULL THEN 1 ELSE 0 END
WHERE c.consumer = $1
