-- Writes a message to table 1 of the outbox.
-- Binds: ?1 id; ?2 enqueued_at; ?3 available_at or NULL; ?4 topic; ?5 key or NULL; ?6 headers as JSON; ?7 body. Result: none.
-- Locks: takes the write lock.
INSERT INTO es_outbox_1 (id, enqueued_at, available_at, topic, key, headers, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7);
