-- The generations of a consumer.
-- Binds: ?1 consumer. Result: rows of generation, state, code_version, created_at, builder, building_since, building_renewed,
-- building_until (microseconds), position (of the partition that is behind all others; NULL before it began), tables (JSON).
-- Order: by generation. Locks: none.
SELECT
    g.generation, g.state, g.code_version, g.created_at, g.builder, g.building_since, g.building_renewed,
    g.building_until,
    (
        SELECT min(c.position)
        FROM (SELECT g.consumer || iif(g.generation = 1, '', '@' || g.generation) AS name) n
        CROSS JOIN es_checkpoints c
        ON c.consumer = n.name OR (c.consumer > n.name || '#' AND c.consumer < n.name || '$')
    ) AS position,
    g.tables
FROM es_generations g
WHERE g.consumer = ?1
ORDER BY g.generation;
