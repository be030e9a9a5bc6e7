-- The checkpoint of a consumer.
-- Binds: ?1 consumer. Result: at most one row: consumer, position, updated_at (microseconds), is_frozen,
-- partition_epoch, event_id.
-- Locks: none.
SELECT consumer, position, updated_at, is_frozen, partition_epoch, event_id FROM es_checkpoints WHERE consumer = ?1;
