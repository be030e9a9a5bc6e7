-- Reads, in one go, everything that decides about a batch of appends.
-- Binds: ?1 event ids, ?2 idempotency keys, ?3 streams, ?4 consumers; each a JSON array of texts (ids in hex).
-- Result: one row. head: the highest position ever given; recorded_at: the highest time ever given (microseconds);
--   ids:         JSON [[hex id, position], ...] of the ids that are stored;
--   keys:        JSON [[key, outcome, recorded_at], ...] of the keys that are stored;
--   streams:     JSON [[index in ?3, version, hex id of the last event], ...] of the streams that exist;
--   checkpoints: JSON [[index in ?4, position], ...] of the consumers that have one and no parked events, behind which
--                new ones may have to wait.
-- Order: none inside the arrays.
-- Locks: none of its own; the caller holds the write lock, so nothing changes until it writes.
SELECT
    max(w.position, coalesce((SELECT max(e.position) FROM es_events e), 0)) AS head,
    max(
        w.recorded_at,
        coalesce(
            (SELECT e.recorded_at FROM es_events e WHERE e.position = (SELECT max(l.position) FROM es_events l)),
            0
        )
    ) AS recorded_at,
    (
        SELECT json_group_array(json_array(wanted.value, e.position))
        FROM json_each(?1) wanted
        CROSS JOIN es_events e ON e.event_id = unhex(wanted.value)
    ) AS ids,
    (
        SELECT json_group_array(json_array(a.key, a.streams, a.recorded_at))
        FROM json_each(?2) wanted
        CROSS JOIN es_appends a ON a.key = wanted.value
    ) AS keys,
    (
        SELECT json_group_array(json_array(wanted.key, e.version, hex(e.event_id)))
        FROM json_each(?3) wanted
        CROSS JOIN es_events e
        ON e.stream = wanted.value AND e.version = (SELECT max(l.version) FROM es_events l WHERE l.stream = wanted.value)
    ) AS streams,
    (
        SELECT json_group_array(json_array(wanted.key, c.position))
        FROM json_each(?4) wanted
        CROSS JOIN es_checkpoints c ON c.consumer = wanted.value
        WHERE NOT EXISTS (SELECT 1 FROM es_parked_keys k WHERE k.consumer = c.consumer)
    ) AS checkpoints
FROM es_high_water w;
