-- One page of those events of the log that a filter names.
-- Binds: ?1 to ?4 as in read_all.sql; ?5 types: JSON [[category, type], ...]; ?6 categories: JSON [category, ...];
--   ?7 streams: JSON [stream, ...].
-- Result and order: as in read_all.sql.
-- Locks: none.
--
-- Each selector is a search in an index, so rare events are found without a look at the others. The types of a category
-- are found by hopping from one to the next in the index of types. A stream's first event after ?1 is found by halving
-- the range of its versions, since positions grow with them.
WITH RECURSIVE category_types (category, type) AS (
    SELECT value, (SELECT min(e.type) FROM es_events e WHERE e.category = value)
    FROM json_each(?6)
    UNION ALL
    SELECT t.category, (SELECT min(e.type) FROM es_events e WHERE e.category = t.category AND e.type > t.type)
    FROM category_types t
    WHERE t.type IS NOT NULL
), wanted_types (category, type) AS (
    SELECT value ->> 0, value ->> 1 FROM json_each(?5)
    UNION
    SELECT category, type FROM category_types WHERE type IS NOT NULL
), halving (stream, low, step) AS (
    -- All events up to version low are at or before ?1; those after version low + 2 * step are not looked at any more.
    SELECT value, 0, 4294967296 FROM json_each(?7)
    UNION ALL
    SELECT
        h.stream,
        h.low + iif(
            coalesce(
                (
                    SELECT e.position FROM es_events e
                    WHERE e.stream = h.stream AND e.version >= h.low + h.step
                    ORDER BY e.version LIMIT 1
                ) <= ?1,
                0
            ),
            h.step, 0
        ),
        h.step / 2
    FROM halving h
    WHERE h.step > 0
), wanted_streams (stream, first) AS (
    SELECT h.stream, (SELECT min(e.version) FROM es_events e WHERE e.stream = h.stream AND e.version > h.low)
    FROM halving h
    WHERE h.step = 0
), matching (position) AS (
    SELECT e.position
    FROM wanted_types w
    CROSS JOIN es_events e INDEXED BY es_events_type
    ON e.category = w.category AND e.type = w.type AND e.position > ?1 AND e.position <= ?2
    UNION
    SELECT e.position
    FROM wanted_streams w
    CROSS JOIN es_events e INDEXED BY es_events_stream
    -- From the first on, not more versions than there are positions.
    ON e.stream = w.stream AND e.version >= w.first AND e.version < w.first + (?2 - ?1)
    WHERE e.position > ?1 AND e.position <= ?2
), picked AS MATERIALIZED (
    SELECT m.position, octet_length(e.payload) AS bytes
    FROM (SELECT position FROM matching ORDER BY position LIMIT (SELECT ?3)) m
    CROSS JOIN es_events e ON e.position = m.position
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
FROM picked
CROSS JOIN es_events e ON e.position = picked.position
WHERE picked.position <= (SELECT last FROM page);
