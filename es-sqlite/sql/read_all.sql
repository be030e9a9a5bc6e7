-- One page of the whole log.
-- Binds: ?1 after this position; ?2 up to this position; ?3 most events; ?4 the page ends with the event that brings it to
--   this many bytes of payload.
-- Result: one row. head: the position of the last event, 0 if there is none; before_id: the id of the event at ?1, NULL if there is
--   none; end_id: the id of the event at ?2, or at the head if that is before; is_cut: whether the page ended because of its
--   bytes, NULL if it is empty; envelopes, ids, metadata, payloads: as in read_stream.sql.
-- Order: by position, in all four.
-- Locks: none.
WITH picked AS (
    SELECT position, octet_length(payload) AS bytes
    FROM es_events
    WHERE position > ?1 AND position <= ?2
    ORDER BY position
    LIMIT (SELECT ?3)
), page AS MATERIALIZED (
    -- The running sum is slow, and needed only where a page is too large.
    SELECT
        sum(bytes) > ?4 AS is_cut,
        CASE
            WHEN sum(bytes) <= ?4 THEN max(position)
            ELSE (
                SELECT max(position)
                FROM (
                    SELECT
                        position,
                        sum(bytes) OVER (ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                    FROM picked
                )
                WHERE before IS NULL OR before < ?4
            )
        END AS last
    FROM picked
)
SELECT
    (SELECT coalesce(max(position), 0) FROM es_events) AS head,
    (SELECT b.event_id FROM es_events b WHERE b.position = ?1) AS before_id,
    (SELECT l.event_id FROM es_events l WHERE l.position <= ?2 ORDER BY l.position DESC LIMIT 1) AS end_id,
    (SELECT is_cut FROM page) AS is_cut,
    json_group_array(json_array(
        e.position, e.stream, e.version, octet_length(e.event_id), e.type, e.occurred_at, e.recorded_at,
        octet_length(e.metadata), octet_length(e.payload)
    )) AS envelopes,
    CAST(group_concat(e.event_id, '') AS BLOB) AS ids,
    group_concat(e.metadata, '') AS metadata,
    group_concat(e.payload, '') AS payloads
FROM es_events e
WHERE e.position > ?1 AND e.position <= (SELECT last FROM page);
