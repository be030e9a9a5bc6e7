-- Parked events of a key.
-- Binds: ?1 consumer; ?2 key; ?3 after which position; ?4 how many. Result: rows of position, parked_at (microseconds),
-- edited (NULL if it was not), event_id. Order: by position. Locks: none.
SELECT p.position, p.parked_at, p.edited, p.event_id
FROM es_parked_events p
WHERE p.consumer = ?1 AND p.key = ?2 AND p.position > ?3
ORDER BY p.position
LIMIT (SELECT ?4);
