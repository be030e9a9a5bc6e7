-- Whether the time of a delayed message has come.
-- Binds: ?1 now. Result: one row (1) if so. Locks: none.
SELECT 1 FROM es_outbox_delayed WHERE available_at <= ?1 LIMIT 1;
