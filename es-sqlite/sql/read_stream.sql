-- One page of a stream.
-- Binds: ?1 stream; ?2 after this version; ?3 most events; ?4 the page ends with the event that brings it to this many
--   bytes of payload.
-- Result: one row. last_version: the stream's version, NULL if it does not exist; envelopes: JSON [[position, stream,
--   version, hex id, type, occurred at, recorded at, bytes of metadata, bytes of payload], ...]; metadata and payloads: the
--   texts of all events, one after the other, NULL if there are none.
-- Order: by version, in all three. One row, because each row of a result costs a hop between threads.
-- Locks: none.
WITH picked AS (
    SELECT version, octet_length(payload) AS bytes
    FROM es_events
    WHERE stream = ?1 AND version > ?2
    ORDER BY version
    LIMIT (SELECT ?3)
), page AS MATERIALIZED (
    -- The running sum is slow, and needed only where a page is too large.
    SELECT
        CASE
            WHEN sum(bytes) <= ?4 THEN max(version)
            ELSE (
                SELECT max(version)
                FROM (
                    SELECT
                        version,
                        sum(bytes) OVER (ORDER BY version ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                    FROM picked
                )
                WHERE before IS NULL OR before < ?4
            )
        END AS last
    FROM picked
)
SELECT
    (SELECT max(version) FROM es_events WHERE stream = ?1) AS last_version,
    json_group_array(json_array(
        e.position, e.stream, e.version, hex(e.event_id), e.type, e.occurred_at, e.recorded_at,
        octet_length(e.metadata), octet_length(e.payload)
    )) AS envelopes,
    group_concat(e.metadata, '') AS metadata,
    group_concat(e.payload, '') AS payloads
FROM es_events e
WHERE e.stream = ?1 AND e.version > ?2 AND e.version <= (SELECT last FROM page);
