-- Adds checkpoints of partitions, with the ids of the events on which they rest.
-- Binds: ?1 JSON [[consumer, position, slot offsets or null, partition epoch, the last position of the slot offsets],
-- ...];
--   ?2 now (microseconds). Result: none.
-- Locks: takes the write lock.
INSERT INTO es_checkpoints
    (consumer, position, updated_at, slot_offsets, partition_epoch, event_id, slot_offsets_event_id)
SELECT
    p.value ->> 0, p.value ->> 1, ?2, p.value ->> 2, p.value ->> 3,
    (SELECT e.event_id FROM es_events e WHERE e.position = p.value ->> 1),
    (SELECT e.event_id FROM es_events e WHERE e.position = p.value ->> 4)
FROM json_each(?1) p;
