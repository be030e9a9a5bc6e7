-- Moves the checkpoint of an inline projection if it stands right before the append, nobody else holds it and no events of it are
-- parked, behind which new ones may have to wait: an append never waits for a runner. One whose partitions were
-- ever changed is left to its runner.
-- Binds: $1 consumer, $2 from, $3 to. Columns: whether it moved. Locks: the consumer's row.
WITH free AS (
    SELECT c.consumer
    FROM {schema}.checkpoints c
    WHERE c.consumer = $1 AND c.position = $2 AND c.layout = 0 AND NOT c.is_frozen
      AND NOT EXISTS (SELECT FROM {schema}.parked_keys k WHERE k.consumer = $1)
    FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE {schema}.checkpoints c
    SET position = $3, updated_at = clock_timestamp()
    FROM free
    WHERE c.consumer = free.consumer
    RETURNING c.consumer
)
SELECT EXISTS (SELECT FROM moved)
    OR CASE WHEN $2 = 0 THEN coalesce({schema}.start_checkpoint($1, $3, false), false) ELSE false END
