-- Changes what a generation is for; nobody builds it any more.
-- Binds: ?1 consumer; ?2 generation; ?3 state. Result: none.
-- Locks: takes the write lock.
UPDATE es_generations
SET state = ?3, builder = NULL, building_since = NULL, building_until = NULL
WHERE consumer = ?1 AND generation = ?2;
