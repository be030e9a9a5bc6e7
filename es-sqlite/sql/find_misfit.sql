-- The first of some places in the log, by position, that the log does not hold: it ends before, or has another event there.
-- Binds: ?1 JSON [[position, hex id of the event there or null], ...].
-- Result: at most one row: position, expected (hex id or NULL), found (id or NULL), head if the log ends before (NULL if not).
-- Locks: none.
SELECT
    s.position, s.event_id AS expected, e.event_id AS found,
    iif(s.position > h.position, h.position, NULL) AS head
FROM (SELECT value ->> 0 AS position, value ->> 1 AS event_id FROM json_each(?1)) s
CROSS JOIN (SELECT coalesce(max(l.position), 0) AS position FROM es_events l) h
LEFT JOIN es_events e ON e.position = s.position
WHERE s.position > h.position OR e.event_id <> unhex(s.event_id)
ORDER BY s.position
LIMIT 1;
