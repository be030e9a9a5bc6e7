-- The records with some keys, those that exist, and the time.
-- Binds: $1 keys. Columns: now, key, value, revision; one row without a key if there are none. Order: any. Locks: none.
-- The subquery with LIMIT 1 makes it look up the index, also by a plan made when the table was empty.
SELECT c.now, r.key, r.value, r.revision
FROM (SELECT clock_timestamp() AS now) c
LEFT JOIN (
    unnest($1::text[]) AS k (key)
    CROSS JOIN LATERAL (
        SELECT o.key, o.value, o.revision
        FROM {schema}.records o
        WHERE o.key = k.key
        LIMIT 1
    ) r
) ON true
