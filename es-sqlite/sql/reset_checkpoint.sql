-- Puts the checkpoints of a generation back to 0, wherever they are, and takes back their slot offsets; unless they are
-- frozen: no row is changed then.
-- Binds: ?1 consumer in its generation; ?2 now (microseconds). Result: none.
-- Locks: takes the write lock.
UPDATE es_checkpoints
SET
    position = 0,
    updated_at = ?2,
    partition_epoch = partition_epoch + (slot_offsets IS NOT NULL),
    slot_offsets = NULL,
    event_id = NULL,
    slot_offsets_event_id = NULL
WHERE (consumer = ?1 OR (consumer > ?1 || '#' AND consumer < ?1 || '$')) AND NOT is_frozen;
