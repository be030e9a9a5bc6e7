-- A page of the events of one category.
-- Binds: $1 after which position, $2 up to which position, $3 events, $4 bytes of payload that end the page,
-- $5 category, $6 event types or null for all.
-- Columns: those of an event (see rows.rs), whether the range has a further event that passes, and the head. At least
-- one row: without events, all but the head are null. Events and head are of one snapshot, so that no event is
-- committed between the two.
-- Order: position. Locks: none.
SELECT p.position, p.version, p.recorded_at, p.occurred_at, p.event_id, p.stream, p.type, p.metadata, p.payload,
       p.has_more, h.head
FROM (
    SELECT greatest((SELECT f.position FROM {schema}.log_floor f), (SELECT max(e.position) FROM {schema}.events e)) AS head
) AS h
LEFT JOIN LATERAL (
    SELECT w.*
    FROM (
        SELECT e.*,
               sum(e.payload_bytes) OVER w - e.payload_bytes AS bytes_before,
               lead(e.position) OVER w IS NOT NULL AS has_more
        FROM (
            SELECT o.*
            FROM {schema}.events o
            -- Compared as pairs, which the index on (category, position) alone can answer.
            WHERE o.category = $5
              AND (o.category, o.position) > ($5, $1)
              AND (o.category, o.position) <= ($5, $2)
              AND ($6::text[] IS NULL OR o.type = ANY ($6))
            ORDER BY o.category, o.position
            LIMIT $3::bigint + 1
        ) AS e
        WINDOW w AS (ORDER BY e.position ROWS UNBOUNDED PRECEDING)
    ) AS w
    WHERE w.bytes_before < $4
    ORDER BY w.position
    LIMIT $3
) AS p ON true
ORDER BY p.position
