-- One page of a stream.
-- Binds: ?1 stream; ?2 after this version; ?3 most events; ?4 the page ends with the event that brings it to this many
--   bytes of payload.
-- Result: one row. last_version: the stream's version, NULL if it does not exist; page_version: the version of the last
--   event of the page, page_events: how many it has; envelopes: JSON [[position, stream (here NULL, as it is known), version,
--   bytes of id, type, occurred at, recorded at, bytes of metadata, bytes of payload], ...]; ids, metadata and payloads:
--   those of all events, one after the other, NULL if there are none.
-- Order: by version, in all four. One row, because each row of a result costs a hop between threads.
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
    (SELECT last FROM page) AS page_version,
    count(*) AS page_events,
    json_group_array(json_array(
        e.position, NULL, e.version, octet_length(e.event_id), e.type, e.occurred_at, e.recorded_at,
        octet_length(e.metadata), octet_length(e.payload)
    )) AS envelopes,
    CAST(group_concat(e.event_id, '') AS BLOB) AS ids,
    group_concat(e.metadata, '') AS metadata,
    group_concat(e.payload, '') AS payloads
FROM es_events e
WHERE e.stream = ?1 AND e.version > ?2 AND e.version <= (SELECT last FROM page);
