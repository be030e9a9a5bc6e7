-- Moves the checkpoint of an inline projection if it stands right before the append, nobody else holds it, its lease
-- is not seized, and no events of it are parked, behind which new ones may have to wait: an append never waits for a
-- runner. One whose partitions were ever changed is left to its runner, and so is one that rests on another event than
-- the one before the append.
-- Binds: $1 consumer, $2 from, $3 to, $4 the id of the event at $2 or null, $5 the id of the event at $3.
-- Columns: whether it moved. Locks: the consumer's row.
WITH free AS (
    SELECT c.consumer
    FROM {schema}.checkpoints c
    WHERE c.consumer = $1 AND c.position = $2 AND c.partition_epoch = 0 AND NOT c.is_frozen
      AND (c.event_id IS NULL OR c.event_id = $4)
      AND NOT EXISTS (SELECT FROM {schema}.parked_keys k WHERE k.consumer = $1)
      AND NOT EXISTS (
          SELECT
          FROM {schema}.leases l
          WHERE l.consumer = $1 AND l.seized AND l.until > clock_timestamp() AND l.renewed <= clock_timestamp()
      )
    FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE {schema}.checkpoints c
    SET position = $3, updated_at = clock_timestamp(), event_id = $5
    FROM free
    WHERE c.consumer = free.consumer
    RETURNING c.consumer
)
SELECT EXISTS (SELECT FROM moved)
    OR CASE WHEN $2 = 0 THEN coalesce({schema}.start_checkpoint($1, $3, false), false) ELSE false END
