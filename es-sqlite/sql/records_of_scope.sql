-- The records of some ranges that do not overlap.
-- Binds: ?1 ranges: JSON [[first text inside, first text beyond or null], ...]; ?2 most records.
-- Result: rows of key, value, revision. Order: any. Locks: none; the caller holds the write lock.
SELECT r.key, r.value, r.revision
FROM json_each(?1) bounds
CROSS JOIN es_records r
    ON r.key >= bounds.value ->> 0
    AND r.key < coalesce(bounds.value ->> 1, (SELECT max(key) || '/' FROM es_records))
LIMIT (SELECT ?2);
