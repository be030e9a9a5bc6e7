-- Which keys of a consumer are parked.
-- Binds: ?1 consumer; ?2 keys: JSON [key, ...]. Result: rows of key. Order: none. Locks: none.
SELECT k.key
FROM json_each(?2) wanted
CROSS JOIN es_parked_keys k ON k.consumer = ?1 AND k.key = wanted.value;
