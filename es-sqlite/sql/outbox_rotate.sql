-- Lets messages be written to the other table of the outbox.
-- Binds: none. Result: none. Locks: takes the write lock.
UPDATE es_outbox_state SET current = 1 - current;
