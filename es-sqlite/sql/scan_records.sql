-- The next records of a range, upwards.
-- Binds: ?1 the first text inside; ?2 the first text beyond, or NULL; ?3 most records.
-- Result: rows of key, value, revision. Order: by the bytes of the key. Locks: none.
SELECT r.key, r.value, r.revision
FROM es_records r
WHERE r.key >= ?1 AND r.key < coalesce(?2, (SELECT max(key) || '/' FROM es_records))
ORDER BY r.key
LIMIT (SELECT ?3);
