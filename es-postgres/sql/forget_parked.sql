-- Removes the parked events of a consumer after a position: they come again, or nobody will ask for them.
-- Binds: $1 consumer, $2 position. Locks: the removed events, and the rows of their keys.
WITH gone AS (
    DELETE FROM {schema}.parked_events e
    WHERE e.consumer = $1 AND e.position > $2
    RETURNING e.key
), counted AS (
    SELECT g.key, count(*) AS events FROM gone g GROUP BY g.key
), lessened AS (
    UPDATE {schema}.parked_keys k
    SET events = k.events - c.events
    FROM counted c
    WHERE k.consumer = $1 AND k.key = c.key AND k.events > c.events
)
DELETE FROM {schema}.parked_keys k
USING counted c
WHERE k.consumer = $1 AND k.key = c.key AND k.events = c.events
