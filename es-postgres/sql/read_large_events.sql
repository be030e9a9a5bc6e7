-- Events of a page whose payloads may be large: it adds their bytes up, and ends where they are enough.
-- {which} and {order} are replaced by a condition on `o` and the order of its index (see statements.rs).
-- Binds: $1 after which version or position, $2 events, $3 bytes of payload that end the page; the others are the condition's.
-- Columns: those of an event (see rows.rs). After the event that ends the page comes the next one, with a null payload.
-- Order: version or position. Locks: none.
SELECT w.position, w.version, w.recorded_at, w.occurred_at, w.event_id, w.stream, w.type, w.metadata,
       CASE WHEN w.bytes_before < $3 THEN w.payload END AS payload
FROM (
    SELECT e.*,
           coalesce(sum(e.payload_bytes) OVER (ORDER BY e.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before,
           coalesce(sum(e.payload_bytes) OVER (ORDER BY e.position ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING), 0) AS bytes_before_the_last
    FROM (
        SELECT o.*
        FROM {schema}.events o
        WHERE {which}
        ORDER BY {order}
        LIMIT $2
    ) AS e
) AS w
WHERE w.bytes_before_the_last < $3
ORDER BY w.position
