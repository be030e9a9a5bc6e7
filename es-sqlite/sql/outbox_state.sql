-- Where the outbox is.
-- Binds: none. Result: one row (current, last_id, confirmed_id, bytes_0, bytes_1, bytes_delayed). Locks: none.
SELECT current, last_id, confirmed_id, bytes_0, bytes_1, bytes_delayed FROM es_outbox_state;
