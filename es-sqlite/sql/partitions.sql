-- The checkpoints of a generation: of its partitions, or of the whole.
-- Binds: ?1 consumer in its generation. Result: rows of consumer, position, ahead, layout, is_frozen, event_id,
-- ahead_event_id. Order: none. Locks: none.
SELECT consumer, position, ahead, layout, is_frozen, event_id, ahead_event_id
FROM es_checkpoints
WHERE consumer = ?1 OR (consumer > ?1 || '#' AND consumer < ?1 || '$');
