-- The checkpoints of a generation: of its partitions, or of the unpartitioned consumer.
-- Binds: $1 consumer in its generation. Columns: consumer, position, slot_offsets, partition_epoch, is_frozen,
-- event_id, slot_offsets_event_id. Order: none. Locks: none.
SELECT c.consumer, c.position, c.slot_offsets, c.partition_epoch, c.is_frozen, c.event_id, c.slot_offsets_event_id
FROM {schema}.checkpoints c
WHERE c.consumer = $1 OR (c.consumer > $1 || '#' AND c.consumer < $1 || '$')
