-- Removes what is parked of a consumer, in all its generations: its keys.
-- Binds: ?1 consumer without a generation. Result: none.
-- Locks: takes the write lock.
DELETE FROM es_parked_keys WHERE consumer = ?1 OR substr(consumer, 1, length(?1) + 1) = ?1 || '@';
