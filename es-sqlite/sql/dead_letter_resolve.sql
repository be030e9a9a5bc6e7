-- Takes a dead letter away.
-- Binds: ?1 its id. Result: one row changed if it was there. Locks: takes the write lock.
DELETE FROM es_dead_letters WHERE id = ?1;
