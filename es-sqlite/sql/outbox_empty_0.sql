-- Empties table 0 of the outbox, without a condition: whole pages are freed. Two statements, in one transaction.
-- Binds: none. Result: none. Locks: takes the write lock.
DELETE FROM es_outbox_0;
UPDATE es_outbox_state SET bytes_0 = 0;
