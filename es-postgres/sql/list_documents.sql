-- The next documents of a view.
-- Binds: $1 after which key ('' is before the first), $2 documents; {view} is replaced by the table's qualified name.
-- Columns: key, document. Order: key, bytewise. Locks: none.
SELECT d.key, d.document
FROM {view} d
WHERE d.key > $1
ORDER BY d.key
LIMIT $2
