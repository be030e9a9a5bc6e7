-- Parked events of a key.
-- Binds: $1 consumer, $2 key, $3 after which position, $4 how many. Columns: position, parked_at, edited (null if it was
-- not), event_id. Order: position. Locks: none.
SELECT e.position, e.parked_at, e.edited::text, e.event_id
FROM {schema}.parked_events e
WHERE e.consumer = $1 AND e.key = $2 AND e.position > $3
ORDER BY e.position
LIMIT $4
