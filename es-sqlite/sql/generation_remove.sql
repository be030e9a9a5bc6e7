-- Removes a generation and its checkpoint; its tables are dropped beside it.
-- Binds: ?1 consumer; ?2 generation; ?3 consumer in its generation. Result: none.
-- Locks: takes the write lock.
DELETE FROM es_generations WHERE consumer = ?1 AND generation = ?2;
DELETE FROM es_checkpoints WHERE consumer = ?3;
