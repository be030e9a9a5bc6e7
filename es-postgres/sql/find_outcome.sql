-- The outcome of the append that is stored at some positions.
-- Binds: $1 first position, $2 last position. Columns: stream, first_version, last_version, first_position, recorded_at, last_event_id;
-- one row per stream that got events. Order: position. Locks: none.
SELECT e.stream, min(e.version), max(e.version), min(e.position), min(e.recorded_at),
       (array_agg(e.event_id ORDER BY e.position DESC))[1]
FROM {schema}.events e
WHERE e.position BETWEEN $1 AND $2
GROUP BY e.stream
ORDER BY min(e.position)
