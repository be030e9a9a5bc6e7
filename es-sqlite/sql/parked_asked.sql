-- Keys of a consumer that are to be tried again.
-- Binds: ?1 consumer; ?2 how many. Result: rows of key. Order: those first that were asked for first. Locks: none.
SELECT k.key
FROM es_parked_keys k
WHERE k.consumer = ?1 AND k.retry_at IS NOT NULL
ORDER BY k.retry_at
LIMIT (SELECT ?2);
