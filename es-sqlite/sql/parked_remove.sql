-- Removes parked events; a key whose last one goes is free.
-- Binds: ?1 consumer; ?2 JSON [[key, position], ...]. Result: none; the number of removed rows tells how many were there.
-- Locks: takes the write lock.
DELETE FROM es_parked_events
WHERE consumer = ?1 AND (key, position) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?2));
