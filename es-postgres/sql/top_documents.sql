-- The documents of a view with the largest number in a field; it reads all documents, each once.
-- Binds: $1 field, $2 documents; {view} is replaced by the table's qualified name. Columns: key, document.
-- Order: the number, largest first, those without one last; then key, bytewise. Locks: none.
SELECT f.key, f.document
FROM (
    SELECT d.key, d.document, d.document -> $1::text AS field
    FROM {view} d
    -- Keeps the field from being looked up twice.
    OFFSET 0
) AS f
ORDER BY CASE WHEN json_typeof(f.field) = 'number' THEN (f.field::text)::numeric END DESC NULLS LAST,
         f.key
LIMIT $2
