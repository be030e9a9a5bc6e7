-- Takes the next number of the outbox.
-- Binds: ?1 bytes of the message. Result: one row (last_id, current). Locks: takes the write lock.
UPDATE es_outbox_state
SET last_id = last_id + 1,
    bytes_0 = bytes_0 + iif(current = 0, ?1, 0),
    bytes_1 = bytes_1 + iif(current = 1, ?1, 0)
RETURNING last_id, current;
