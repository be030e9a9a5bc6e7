-- The revisions of the records with some keys, those that exist.
-- Binds: ?1 keys: JSON [key, ...]. Result: rows of key, revision. Order: any.
-- Locks: none; the caller holds the write lock.
SELECT r.key, r.revision
FROM json_each(?1) wanted
CROSS JOIN es_records r ON r.key = wanted.value;
