-- Gives a dead letter another message, and asks for it to be tried again.
-- Binds: ?1 its id; ?2 headers; ?3 body. Result: a row of consumer if it is there. Locks: takes the write lock.
UPDATE es_dead_letters
SET headers = ?2, body = ?3, is_retry_requested = 1
WHERE id = ?1
RETURNING consumer;
