-- The documents of a view with some keys, those that exist.
-- Binds: $1 keys; {view} is replaced by the table's qualified name. Columns: key, document. Order: any. Locks: none.
-- The subquery with LIMIT 1 makes it look up the index, also by a plan made when the table was empty.
SELECT d.key, d.document
FROM unnest($1::text[]) AS k (key)
CROSS JOIN LATERAL (
    SELECT o.key, o.document
    FROM {view} o
    WHERE o.key = k.key
    LIMIT 1
) AS d
