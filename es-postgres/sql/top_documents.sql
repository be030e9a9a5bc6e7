-- The documents of a view with the largest number in a field; it reads all documents.
-- Binds: $1 field, $2 documents; {view} is replaced by the table's qualified name. Columns: key, document.
-- Order: the number, largest first, those without one last; then key, bytewise. Locks: none.
SELECT d.key, d.document
FROM {view} d
ORDER BY CASE WHEN json_typeof(d.document -> $1::text) = 'number' THEN (d.document ->> $1::text)::numeric END DESC NULLS LAST,
         d.key
LIMIT $2
