-- A page of one stream.
-- Binds: $1 stream, $2 after which version, $3 events, $4 bytes of payload that end the page.
-- Columns: those of an event (see rows.rs), and whether the stream has a further event.
-- Order: version. Locks: none.
SELECT p.position, p.version, p.recorded_at, p.occurred_at, p.event_id, p.stream, p.type, p.metadata, p.payload,
       p.has_more
FROM (
    SELECT e.*,
           sum(e.payload_bytes) OVER w - e.payload_bytes AS bytes_before,
           lead(e.version) OVER w IS NOT NULL AS has_more
    FROM (
        SELECT o.*
        FROM {schema}.events o
        WHERE o.stream = $1 AND o.version > $2
        ORDER BY o.version
        LIMIT $3::bigint + 1
    ) AS e
    WINDOW w AS (ORDER BY e.version ROWS UNBOUNDED PRECEDING)
) AS p
WHERE p.bytes_before < $4
ORDER BY p.version
LIMIT $3
