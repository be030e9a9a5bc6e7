-- Takes a delayed message away.
-- Binds: ?1 id. Result: none. Locks: takes the write lock.
DELETE FROM es_outbox_delayed WHERE id = ?1;
