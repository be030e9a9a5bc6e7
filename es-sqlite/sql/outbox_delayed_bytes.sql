-- Adds to the bytes of delayed messages.
-- Binds: ?1 bytes, or less than none. Result: none. Locks: takes the write lock.
UPDATE es_outbox_state SET bytes_delayed = bytes_delayed + ?1;
