-- Notes that a builder has left a generation.
-- Binds: ?1 consumer; ?2 generation; ?3 builder. Result: none.
-- Locks: takes the write lock.
UPDATE es_generations
SET builder = NULL, building_since = NULL, building_until = NULL
WHERE consumer = ?1 AND generation = ?2 AND builder = ?3;
