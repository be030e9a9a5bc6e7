-- A page of the log, and the head if there is room for it among the rows: a full page needs none.
-- {events} is replaced by sql/read_events.sql or sql/read_large_events.sql.
-- Binds: those of {events}. Columns: those of an event. In the last row, the head's, the stream says
-- 'pipelined' if appends may be seen before they are flushed; all but the position are null there otherwise.
-- Events and head are of one snapshot, so that no event is committed between the two.
-- Order: position, then the head. Locks: none.
({events})
UNION ALL
SELECT greatest((SELECT f.position FROM {schema}.log_floor f), (SELECT max(e.position) FROM {schema}.events e)),
       NULL, NULL, NULL, NULL, (SELECT 'pipelined' FROM {schema}.log_floor f WHERE f.is_pipelined), NULL, NULL, NULL
LIMIT $2
