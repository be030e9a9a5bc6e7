-- Which keys of a consumer are parked.
-- Binds: $1 consumer, $2 keys. Columns: key. Locks: none.
SELECT k.key
FROM {schema}.parked_keys k
WHERE k.consumer = $1 AND k.key = ANY ($2)
