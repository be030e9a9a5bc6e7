-- What was done to parked events of a consumer by hand.
-- Binds: ?1 consumer; ?2 after which record; ?3 how many. Result: rows of id, at (microseconds), key, position, action, by,
-- reason, payload. Order: by id. Locks: none.
SELECT h.id, h.at, h.key, h.position, h.action, h.by, h.reason, h.payload
FROM es_parking_history h
WHERE h.consumer = ?1 AND h.id > ?2
ORDER BY h.id
LIMIT (SELECT ?3);
