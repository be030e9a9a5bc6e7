-- Removes the parked events of a consumer after a position: they come again, or nobody will ask for them.
-- Binds: ?1 consumer; ?2 position. Result: none.
-- Locks: takes the write lock.
DELETE FROM es_parked_events WHERE consumer = ?1 AND position > ?2;
