-- Ends a suspension.
-- Binds: ?1 consumer; ?2 kind. Result: none; one row changed if there was one.
-- Locks: takes the write lock.
DELETE FROM es_suspensions WHERE consumer = ?1 AND kind = ?2;
