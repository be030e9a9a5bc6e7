-- Notes that a builder has left a generation.
-- Binds: $1 consumer, $2 generation, $3 builder. Locks: the generation's row.
UPDATE {schema}.generations g
SET builder = NULL, building_since = NULL, building_until = NULL
WHERE g.consumer = $1 AND g.generation = $2 AND g.builder = $3
