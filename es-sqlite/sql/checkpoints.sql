-- All checkpoints.
-- Binds: none. Result: rows of consumer, position, updated_at (microseconds).
-- Order: by consumer. Locks: none.
SELECT consumer, position, updated_at FROM es_checkpoints ORDER BY consumer;
