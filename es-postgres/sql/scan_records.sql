-- The next records of a range, upwards, and the time.
-- Binds: $1 the first text inside, $2 the first text beyond or null, $3 most records. Columns: now, key, value,
-- revision; one row without a key if there are none. Order: key, bytewise. Locks: none.
SELECT c.now, r.key, r.value, r.revision
FROM (SELECT clock_timestamp() AS now) c
LEFT JOIN (
    SELECT o.key, o.value, o.revision
    FROM {schema}.records o
    WHERE o.key >= $1 AND o.key < coalesce($2, (SELECT max(m.key) || '/' FROM {schema}.records m))
    ORDER BY o.key
    LIMIT $3
) r ON true
ORDER BY r.key
