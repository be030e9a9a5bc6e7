-- Changes what a generation is for; nobody builds it any more.
-- Binds: $1 consumer, $2 generation, $3 state. Locks: the generation's row.
UPDATE {schema}.generations g
SET state = $3, builder = NULL, building_since = NULL, building_until = NULL
WHERE g.consumer = $1 AND g.generation = $2
