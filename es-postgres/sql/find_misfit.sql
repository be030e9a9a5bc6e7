-- The first of some places in the log, by position, that the log does not hold: it ends before, or has another event there.
-- Binds: $1 positions, $2 ids of the events there, or null where they are not known; of the same length.
-- Columns: position, the id that was given, the id that is there, and the head if the log ends before; at most one row. Locks: none.
SELECT s.position, s.event_id, e.event_id, CASE WHEN s.position > h.position THEN h.position END
FROM unnest($1::bigint[], $2::uuid[]) AS s (position, event_id)
CROSS JOIN (
    SELECT greatest((SELECT f.position FROM {schema}.log_floor f), (SELECT max(o.position) FROM {schema}.events o)) AS position
    OFFSET 0
) AS h
LEFT JOIN LATERAL (SELECT o.event_id FROM {schema}.events o WHERE o.position = s.position LIMIT 1) AS e ON true
WHERE s.position > h.position OR e.event_id <> s.event_id
ORDER BY s.position
LIMIT 1
