-- All checkpoints.
-- Binds: none. Result: rows of consumer, position, updated_at (microseconds), is_frozen, event_id.
-- Order: by consumer. Locks: none.
SELECT consumer, position, updated_at, is_frozen, event_id FROM es_checkpoints ORDER BY consumer;
