-- The outcome of the append with an idempotency key.
-- Binds: ?1 key. Result: at most one row: hex digest of the request, streams (JSON), recorded_at (microseconds),
--   last_event_id. Locks: none.
SELECT
    hex(a.request) AS request, a.streams, a.recorded_at,
    (
        SELECT e.event_id FROM es_events e
        WHERE e.position = (a.streams ->> '$[#-1][3]') + (a.streams ->> '$[#-1][2]') - (a.streams ->> '$[#-1][1]')
    ) AS last_event_id
FROM es_appends a
WHERE a.key = ?1;
