-- Adds checkpoints of partitions, with the ids of the events on which they rest.
-- Binds: $1 consumers, $2 positions, $3 their slot offsets or null, $4 their partition epochs, $5 the last positions of
-- the slot offsets; of the same length. Locks: the new rows.
INSERT INTO {schema}.checkpoints
    (consumer, position, updated_at, slot_offsets, partition_epoch, event_id, slot_offsets_event_id)
SELECT p.consumer, p.position, clock_timestamp(), p.slot_offsets, p.partition_epoch, {schema}.event_at(p.position),
       {schema}.event_at(p.slot_offsets_end)
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[])
    AS p (consumer, position, slot_offsets, partition_epoch, slot_offsets_end)
