-- The checkpoints of a generation: of its partitions, or of the whole.
-- Binds: ?1 consumer in its generation. Result: rows of consumer, position, ahead, layout, is_frozen. Order: none. Locks: none.
SELECT consumer, position, ahead, layout, is_frozen
FROM es_checkpoints
WHERE consumer = ?1 OR (consumer > ?1 || '#' AND consumer < ?1 || '$');
