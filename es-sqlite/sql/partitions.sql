-- The checkpoints of a generation: of its partitions, or of the unpartitioned consumer.
-- Binds: ?1 consumer in its generation. Result: rows of consumer, position, slot_offsets, partition_epoch, is_frozen,
-- event_id, slot_offsets_event_id. Order: none. Locks: none.
SELECT consumer, position, slot_offsets, partition_epoch, is_frozen, event_id, slot_offsets_event_id
FROM es_checkpoints
WHERE consumer = ?1 OR (consumer > ?1 || '#' AND consumer < ?1 || '$');
