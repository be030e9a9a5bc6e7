-- Removes the suspensions of a consumer.
-- Binds: ?1 consumer without a generation. Result: none; as many rows changed as there were.
-- Locks: takes the write lock.
DELETE FROM es_suspensions WHERE consumer = ?1;
