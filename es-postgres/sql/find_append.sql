-- The outcome of the append that was stored under a key.
-- Binds: $1 key. Columns: stream, first_version, last_version, first_position, recorded_at, last_event_id, digest of
-- the request; one row per stream that got events. Order: position. Locks: none.
SELECT e.stream, min(e.version), max(e.version), min(e.position), min(e.recorded_at),
       (array_agg(e.event_id ORDER BY e.position DESC))[1], a.request
FROM {schema}.appends a
JOIN {schema}.events e ON e.position BETWEEN a.first_position AND a.last_position
WHERE a.key = $1
GROUP BY e.stream, a.request
ORDER BY min(e.position)
