-- Notes who builds a generation; whoever goes on with a lease of their own has built it since the same time.
-- Binds: $1 consumer, $2 generation, $3 builder, $4 lease in milliseconds. Locks: the generation's row.
UPDATE {schema}.generations g
SET building_since = CASE
        WHEN g.builder = $3 AND g.building_until > clock_timestamp() THEN least(g.building_since, clock_timestamp())
        ELSE clock_timestamp()
    END,
    builder = $3,
    building_renewed = clock_timestamp(),
    building_until = clock_timestamp() + $4 * interval '1 millisecond'
WHERE g.consumer = $1 AND g.generation = $2
