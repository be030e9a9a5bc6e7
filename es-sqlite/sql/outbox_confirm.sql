-- Confirms messages of the outbox up to one.
-- Binds: ?1 its id. Result: none. Locks: takes the write lock.
UPDATE es_outbox_state SET confirmed_id = ?1 WHERE confirmed_id < ?1;
