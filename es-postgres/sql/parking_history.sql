-- What was done to parked events of a consumer by hand.
-- Binds: $1 consumer, $2 after which record, $3 how many. Columns: id, at, key, position, action, by, reason, payload.
-- Order: id. Locks: none.
SELECT h.id, h.at, h.key, h.position, h.action, h.by, h.reason, h.payload::text
FROM {schema}.parking_history h
WHERE h.consumer = $1 AND h.id > $2
ORDER BY h.id
LIMIT $3
