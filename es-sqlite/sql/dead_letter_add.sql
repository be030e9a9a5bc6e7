-- Puts a message aside; one that is there already gets the new failure and message.
-- Binds: ?1 consumer; ?2 id; ?3 type or NULL; ?4 topic; ?5 key or NULL; ?6 reason; ?7 error; ?8 attempts; ?9 now (microseconds);
-- ?10 headers; ?11 body. Result: one row changed. Locks: takes the write lock.
INSERT INTO es_dead_letters
    (consumer, message_id, message_type, topic, key, reason, error, attempts, since, is_retry_asked, headers, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11)
ON CONFLICT (consumer, message_id) DO UPDATE
SET message_type = excluded.message_type, topic = excluded.topic, key = excluded.key, reason = excluded.reason,
    error = excluded.error, attempts = excluded.attempts, is_retry_asked = 0, headers = excluded.headers,
    body = excluded.body;
