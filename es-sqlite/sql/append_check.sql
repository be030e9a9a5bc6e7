-- Reads, in one go, everything that decides about a batch of appends.
-- Binds: ?1 event ids, ?2 idempotency keys, ?3 streams, ?4 consumers; each a JSON array of texts (ids in hex);
--   ?5 now (microseconds).
-- Result: one row. head: the highest position ever given; recorded_at: the highest time ever given (microseconds);
--   ids:         JSON [[hex id, position], ...] of the ids that are stored;
--   keys:        JSON [[key, hex digest of the request, outcome, recorded_at, hex id of its last event], ...] of the keys
--                that are stored;
--   streams:     JSON [[index in ?3, version, hex id of the last event], ...] of the streams that exist;
--   checkpoints: JSON [[index in ?4, position], ...] of the consumers that have one that rests on an event of the log,
--                whose lease is not seized, and that have no parked events, behind which new ones may have to wait;
--   head_id:     the id of the event at the head, NULL if there is none.
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
        SELECT e.event_id FROM es_events e
        WHERE e.position = (SELECT max(l.position) FROM es_events l) AND e.position >= w.position
    ) AS head_id,
    (
        SELECT json_group_array(json_array(wanted.value, e.position))
        FROM json_each(?1) wanted
        CROSS JOIN es_events e ON e.event_id = unhex(wanted.value)
    ) AS ids,
    (
        SELECT json_group_array(json_array(a.key, hex(a.request), a.streams, a.recorded_at, (
            SELECT hex(e.event_id) FROM es_events e
            WHERE e.position = (a.streams ->> '$[#-1][3]') + (a.streams ->> '$[#-1][2]') - (a.streams ->> '$[#-1][1]')
        )))
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
            AND NOT EXISTS (
                SELECT 1
                FROM es_leases l
                WHERE l.consumer = c.consumer AND l.seized AND l.until > ?5 AND l.renewed <= ?5
            )
          AND (c.event_id IS NULL OR c.event_id = (SELECT e.event_id FROM es_events e WHERE e.position = c.position))
    ) AS checkpoints
FROM es_high_water w;
