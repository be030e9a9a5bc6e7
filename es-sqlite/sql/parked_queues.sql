-- Parked keys of a consumer.
-- Binds: ?1 consumer; ?2 after which key; ?3 how many. Result: rows of key, events, parked_at, first_error, last_error,
-- attempts, tried_at, retry_at, retry_by, retry_reason (times in microseconds). Order: by key, bytewise. Locks: none.
SELECT
    k.key, k.events, k.parked_at, k.first_error, k.last_error, k.attempts, k.tried_at, k.retry_at, k.retry_by, k.retry_reason
FROM es_parked_keys k
WHERE k.consumer = ?1 AND k.key > ?2
ORDER BY k.key
LIMIT (SELECT ?3);
