-- The position of the last event; 0 if there is none.
-- Binds: none. Result: one row: head. Locks: none.
SELECT coalesce(max(position), 0) AS head FROM es_events;
