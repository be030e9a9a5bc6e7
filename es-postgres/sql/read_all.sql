-- A page of the log, and the head if there is room for it among the rows: a full page needs none.
-- {events} is replaced by sql/read_events.sql or sql/read_large_events.sql.
-- Binds: those of {events}, of which $1 is the position before the page, and $4 the last one that it looks at.
-- Columns: those of an event. Of two further rows all but a few columns are null: the first one, whose type says 'before', has the
-- id of the event at $1, if there is one; the last one is the head's: its position, the id of the event at the position that was
-- looked at last, and as the stream 'pipelined' if appends may be seen before they are flushed.
-- All rows are of one snapshot, so that no event is committed between them.
-- Order: the row before the page, position, the head. Locks: none.
SELECT b.position, NULL, NULL, NULL, b.event_id, NULL, 'before', NULL, NULL
FROM {schema}.events b
WHERE b.position = $1
UNION ALL
({events})
UNION ALL
SELECT h.position, NULL, NULL, NULL,
       (SELECT e.event_id FROM {schema}.events e WHERE e.position = least(h.position, $4)),
       (SELECT 'pipelined' FROM {schema}.log_floor f WHERE f.is_pipelined), NULL, NULL, NULL
FROM (
    SELECT greatest((SELECT f.position FROM {schema}.log_floor f), (SELECT max(e.position) FROM {schema}.events e)) AS position
    OFFSET 0
) AS h
LIMIT $2 + 1
