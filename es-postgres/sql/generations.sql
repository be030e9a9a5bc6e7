-- The generations of a consumer.
-- Binds: $1 consumer. Columns: generation, state, code_version, created_at, builder, building_since, building_until,
-- position (of the partition that is behind all others; null before it began), building_renewed, tables, is_held (whether a
-- builder's lease is in force).
-- Order: generation. Locks: none.
SELECT g.generation, g.state, g.code_version, g.created_at, g.builder, g.building_since, g.building_until,
       r.position, g.building_renewed, g.tables,
       coalesce(g.building_until > clock_timestamp() AND g.building_renewed <= clock_timestamp(), false) AS is_held
FROM {schema}.generations g
CROSS JOIN LATERAL (
    SELECT g.consumer || CASE WHEN g.generation = 1 THEN '' ELSE '@' || g.generation::text END AS name
) n
CROSS JOIN LATERAL (
    SELECT min(c.position) AS position
    FROM {schema}.checkpoints c
    WHERE c.consumer = n.name OR (c.consumer > n.name || '#' AND c.consumer < n.name || '$')
) r
WHERE g.consumer = $1
ORDER BY g.generation
