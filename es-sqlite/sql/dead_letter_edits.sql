-- What a dead letter was before it was edited.
-- Binds: ?1 its id. Result: rows of headers, body. Order: oldest first. Locks: none.
SELECT headers, body FROM es_dead_letter_edits WHERE dead_letter_id = ?1 ORDER BY id;
