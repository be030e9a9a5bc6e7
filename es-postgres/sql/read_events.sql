-- Events of a page, without payloads that are too large to be sent before it is known how many the page has.
-- {which} and {order} are replaced by a condition on `o` and the order of its index (see statements.rs).
-- Binds: $1 after which version or position, $2 events, $3 bytes of the largest payload that is sent; the others are the condition's.
-- Columns: those of an event (see rows.rs); the payload is null if it is larger than $3.
-- Order: version or position. Locks: none.
SELECT o.position, o.version, o.recorded_at, o.occurred_at, o.event_id, o.stream, o.type, o.metadata,
       CASE WHEN o.payload_bytes <= $3 THEN o.payload END AS payload
FROM {schema}.events o
WHERE {which}
ORDER BY {order}
LIMIT $2
