-- Removes a generation; its checkpoint and its tables are removed beside it.
-- Binds: ?1 consumer; ?2 generation. Result: none.
-- Locks: takes the write lock.
DELETE FROM es_generations WHERE consumer = ?1 AND generation = ?2;
