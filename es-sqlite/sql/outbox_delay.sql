-- Writes a delayed message.
-- Binds: ?1 available_at; ?2 topic; ?3 key or NULL; ?4 headers as JSON; ?5 body. Result: none. Locks: takes the write lock.
INSERT INTO es_outbox_delayed (available_at, topic, key, headers, body) VALUES (?1, ?2, ?3, ?4, ?5);
