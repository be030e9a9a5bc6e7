-- Gives a parked event another payload.
-- Binds: ?1 consumer; ?2 key; ?3 position; ?4 payload. Result: none; no row is changed if it is not parked.
-- Locks: takes the write lock.
UPDATE es_parked_events SET edited = ?4 WHERE consumer = ?1 AND key = ?2 AND position = ?3;
