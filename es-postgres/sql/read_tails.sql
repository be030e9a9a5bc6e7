-- The first events of several streams after a version of each, without payloads that are too large for it.
-- Binds: $1 streams, $2 after which version of each, $3 events of each, $4 bytes of the largest payload that is sent.
-- Columns: those of an event (see rows.rs), the payload null if it is larger than $4; which of the streams (from 1).
-- Order: streams as they were given, version. Locks: none. The subqueries hide the values from the planner, which would
-- otherwise plan every single call for its values; that takes as long as the call itself.
SELECT e.position, e.version, e.recorded_at, e.occurred_at, e.event_id, e.stream, e.type, e.metadata,
       CASE WHEN e.payload_bytes <= $4 THEN e.payload END AS payload,
       s.n
FROM unnest((SELECT $1::text[]), (SELECT $2::bigint[])) WITH ORDINALITY AS s (stream, after, n)
CROSS JOIN LATERAL (
    SELECT o.*
    FROM {schema}.events o
    WHERE o.stream = s.stream AND o.version > s.after
    ORDER BY o.version
    LIMIT (SELECT $3::bigint)
) AS e
ORDER BY s.n, e.version
