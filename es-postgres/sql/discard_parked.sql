-- Removes one parked event of a key, or all of them, and records each; the key's row is locked already.
-- Binds: $1 consumer, $2 key, $3 position or null for all, $4 by whom, $5 why. Columns: how many.
-- Locks: the removed events.
WITH gone AS (
    DELETE FROM {schema}.parked_events e
    WHERE e.consumer = $1 AND e.key = $2 AND ($3::bigint IS NULL OR e.position = $3)
    RETURNING e.position
), recorded AS (
    INSERT INTO {schema}.parking_history (at, consumer, key, position, action, by, reason)
    SELECT clock_timestamp(), $1, $2, g.position, 'discard', $4, $5
    FROM gone g
    ORDER BY g.position
), lessened AS (
    UPDATE {schema}.parked_keys k
    SET events = k.events - (SELECT count(*) FROM gone)
    WHERE k.consumer = $1 AND k.key = $2 AND k.events > (SELECT count(*) FROM gone)
), freed AS (
    DELETE FROM {schema}.parked_keys k
    WHERE k.consumer = $1 AND k.key = $2 AND k.events = (SELECT count(*) FROM gone)
)
SELECT count(*) FROM gone
