-- One parked key.
-- Binds: ?1 consumer; ?2 key. Result: one row as of parked_queues.sql, or none. Locks: none.
SELECT
    k.key, k.events, k.parked_at, k.first_error, k.last_error, k.attempts, k.tried_at, k.retry_at, k.retry_by, k.retry_reason
FROM es_parked_keys k
WHERE k.consumer = ?1 AND k.key = ?2;
