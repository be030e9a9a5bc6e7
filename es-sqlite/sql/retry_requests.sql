-- Keys of a consumer whose retry is requested.
-- Binds: ?1 consumer; ?2 how many. Result: rows of key. Order: the oldest request first. Locks: none.
SELECT k.key
FROM es_parked_keys k
WHERE k.consumer = ?1 AND k.retry_at IS NOT NULL
ORDER BY k.retry_at
LIMIT (SELECT ?2);
