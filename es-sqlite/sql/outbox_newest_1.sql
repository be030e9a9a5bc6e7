-- The last message in table 1 of the outbox.
-- Binds: none. Result: one row (an id or NULL). Locks: none.
SELECT max(id) FROM es_outbox_1;
