-- Puts a message aside; one that is there already gets the new failure, and keeps its message and a retry that was asked for.
-- Binds: ?1 consumer; ?2 identity; ?3 id; ?4 type or NULL; ?5 topic; ?6 key or NULL; ?7 reason; ?8 error; ?9 attempts;
-- ?10 now (microseconds); ?11 headers; ?12 body. Result: one row changed. Locks: takes the write lock.
INSERT INTO es_dead_letters
    (consumer, identity, message_id, message_type, topic, key, reason, error, attempts, since, is_retry_requested, headers, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, ?11, ?12)
ON CONFLICT (consumer, identity) DO UPDATE
SET reason = excluded.reason, error = excluded.error, attempts = max(attempts, excluded.attempts);
