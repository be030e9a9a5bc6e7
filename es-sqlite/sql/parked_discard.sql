-- Removes one parked event of a key, or all of them.
-- Binds: ?1 consumer; ?2 key; ?3 position, or NULL for all. Result: rows of position. Order: none.
-- Locks: takes the write lock.
DELETE FROM es_parked_events
WHERE consumer = ?1 AND key = ?2 AND (?3 IS NULL OR position = ?3)
RETURNING position;
