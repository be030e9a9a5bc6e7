-- Removes the checkpoints of a consumer, in all its generations.
-- Binds: ?1 consumer without a generation. Result: none; as many rows changed as there were.
-- Locks: takes the write lock.
DELETE FROM es_checkpoints WHERE consumer = ?1 OR substr(consumer, 1, length(?1) + 1) IN (?1 || '@', ?1 || '#');
