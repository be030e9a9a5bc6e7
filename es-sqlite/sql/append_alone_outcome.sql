-- What the statement right before it, append_alone.sql, has stored.
-- Binds: none. Result: one row: position and version of the last event; none if nothing was stored.
-- Locks: none.
SELECT position, version FROM es_events WHERE changes() > 0 ORDER BY position DESC LIMIT 1;
