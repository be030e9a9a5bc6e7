-- The records with some keys, those that exist.
-- Binds: ?1 keys: JSON [key, ...]. Result: rows of key, value, revision. Order: any. Locks: none.
SELECT r.key, r.value, r.revision
FROM json_each(?1) wanted
CROSS JOIN es_records r ON r.key = wanted.value;
