-- Removes a generation and its checkpoint; its tables are dropped beside it.
-- Binds: $1 consumer, $2 generation, $3 consumer in its generation. Locks: both rows.
WITH removed AS (
    DELETE FROM {schema}.generations g
    WHERE g.consumer = $1 AND g.generation = $2
)
DELETE FROM {schema}.checkpoints c
WHERE c.consumer = $3
