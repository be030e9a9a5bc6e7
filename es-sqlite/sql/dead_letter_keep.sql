-- Keeps what a dead letter is before it is edited.
-- Binds: ?1 its id; ?2 now (microseconds); ?3 by whom; ?4 reason. Result: one row changed if it is there. Locks: takes the write lock.
INSERT INTO es_dead_letter_edits (dead_letter_id, at, by, reason, headers, body)
SELECT id, ?2, ?3, ?4, headers, body
FROM es_dead_letters
WHERE id = ?1;
