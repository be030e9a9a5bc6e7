-- One parked key.
-- Binds: $1 consumer, $2 key. Columns: as of parked_queues.sql. Locks: none.
SELECT k.key, k.events, k.parked_at, k.first_error, k.last_error, k.attempts, k.tried_at, k.retry_at, k.retry_by,
       k.retry_reason
FROM {schema}.parked_keys k
WHERE k.consumer = $1 AND k.key = $2
