-- What the statement right before it, append_alone.sql, has stored.
-- Binds: none. Result: one row: position and version of the last event, before_id: the id of the event before the first one, NULL if
--   there is none; no row if nothing was stored.
-- Locks: none.
SELECT e.position, e.version, (SELECT b.event_id FROM es_events b WHERE b.position = e.position - changes()) AS before_id
FROM es_events e
WHERE changes() > 0
ORDER BY e.position DESC
LIMIT 1;
