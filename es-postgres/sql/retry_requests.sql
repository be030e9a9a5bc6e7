-- Keys of a consumer whose retry is requested.
-- Binds: $1 consumer, $2 how many. Columns: key. Order: the oldest request first. Locks: none.
SELECT k.key
FROM {schema}.parked_keys k
WHERE k.consumer = $1 AND k.retry_at IS NOT NULL
ORDER BY k.retry_at
LIMIT $2
