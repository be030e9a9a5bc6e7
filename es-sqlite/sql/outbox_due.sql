-- A delayed message whose time has come, the earliest first.
-- Binds: ?1 now. Result: one row (id, available_at, topic, key, headers, body) or none. Locks: none.
SELECT id, available_at, topic, key, headers, body
FROM es_outbox_delayed
WHERE available_at <= ?1
ORDER BY available_at, id
LIMIT 1;
