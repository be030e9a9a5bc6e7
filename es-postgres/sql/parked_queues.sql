-- Parked keys of a consumer.
-- Binds: $1 consumer, $2 after which key, $3 how many. Columns: key, events, parked_at, first_error, last_error, attempts,
-- tried_at, retry_at, retry_by, retry_reason. Order: key, bytewise. Locks: none.
SELECT k.key, k.events, k.parked_at, k.first_error, k.last_error, k.attempts, k.tried_at, k.retry_at, k.retry_by,
       k.retry_reason
FROM {schema}.parked_keys k
WHERE k.consumer = $1 AND k.key > $2
ORDER BY k.key
LIMIT $3
