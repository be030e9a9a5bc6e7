-- Stores the events of an append to one stream, if everything about it is as it should be; otherwise nothing.
-- Binds: ?1 the events, as in append_events.sql, with anything as their versions; ?2 recorded at (microseconds); ?3 stream;
--   ?4 lowest and ?5 highest version that the stream may have; ?6 hex id of its last event, NULL if that may be any.
-- Result: none. Order: positions follow the order of the array.
-- Locks: needs the write lock.
INSERT INTO es_events
    (position, version, stream, category, event_id, type, occurred_at, metadata, payload, recorded_at)
SELECT
    found.head + 1 + key, found.version + 1 + key, value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5,
    value ->> 6, value ->> 7, ?2
FROM (
    SELECT
        max(w.position, coalesce(l.position, 0)) AS head,
        max(w.recorded_at, coalesce(l.recorded_at, 0)) AS recorded_at,
        coalesce(s.version, 0) AS version,
        s.event_id AS last_id
    FROM es_high_water w
    LEFT JOIN es_events l ON l.position = (SELECT max(position) FROM es_events)
    LEFT JOIN es_events s ON s.stream = ?3 AND s.version = (SELECT max(version) FROM es_events WHERE stream = ?3)
) found
CROSS JOIN jsonb_each(?1)
WHERE
    found.version BETWEEN ?4 AND ?5
    AND (?6 IS NULL OR found.last_id = unhex(?6))
    -- The clock was put back: not for here.
    AND found.recorded_at <= ?2
    AND NOT EXISTS (
        SELECT 1 FROM jsonb_each(?1) wanted CROSS JOIN es_events e ON e.event_id = unhex(wanted.value ->> 3)
    );
