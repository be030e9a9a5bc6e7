-- What was done to parked events of a consumer by hand.
-- Binds: ?1 consumer; ?2 after which record; ?3 how many. Result: rows of id, at (microseconds), key, position, action, by,
-- reason, payload. Order: by id. Locks: none.
SELECT id, at, key, position, action, by, reason, payload
FROM es_parking_history
WHERE consumer = ?1 AND id > ?2
ORDER BY id
LIMIT (SELECT ?3);
