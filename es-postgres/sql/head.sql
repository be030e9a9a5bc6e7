-- The position of the last event that this statement's snapshot holds, or that was ever given away.
-- Binds: none. Columns: position. Locks: none.
SELECT greatest((SELECT f.position FROM {schema}.log_floor f), (SELECT max(e.position) FROM {schema}.events e))
