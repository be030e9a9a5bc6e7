-- Takes a dead letter away whose message is still the one that was read.
-- Binds: ?1 its id; ?2 headers; ?3 body. Result: one row changed if it was there. Locks: takes the write lock.
DELETE FROM es_dead_letters WHERE id = ?1 AND headers = ?2 AND body = ?3;
