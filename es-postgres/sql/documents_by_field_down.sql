-- The documents of a view by the number or text in a field, largest value first; it reads all documents, each once.
-- Binds: $1 field; $2 the least and $3 the largest number as texts, or null; $4 the least and $5 the largest text, or
-- null; after a document with $6 number as text or $7 text, and $8 key, or nulls; $9 documents. {view} is replaced by
-- the table's qualified name. Columns: key, document. Locks: none.
-- Order: texts bytewise, then numbers, largest first; then key, bytewise. Other values are left out.
SELECT f.key, f.document
FROM (
    SELECT v.key, v.document,
           CASE WHEN json_typeof(v.field) = 'number' THEN (v.field::text)::numeric END AS number,
           CASE WHEN json_typeof(v.field) = 'string' THEN (v.field #>> '{}') COLLATE "C" END AS text
    FROM (
        SELECT d.key, d.document, d.document -> $1::text AS field
        FROM {view} d
        -- Keeps the field from being looked up twice.
        OFFSET 0
    ) AS v
    OFFSET 0
) AS f
WHERE (f.number IS NOT NULL OR f.text IS NOT NULL)
  AND ($2::text IS NULL OR f.number >= $2::text::numeric)
  AND ($3::text IS NULL OR f.number <= $3::text::numeric)
  AND ($4::text IS NULL OR f.text >= $4::text)
  AND ($5::text IS NULL OR f.text <= $5::text)
  AND
       CASE
           WHEN $7::text IS NOT NULL THEN f.number IS NOT NULL OR f.text < $7 OR (f.text = $7 AND f.key > $8)
           ELSE $6::text IS NULL OR f.number < $6::text::numeric OR (f.number = $6::text::numeric AND f.key > $8)
       END
ORDER BY f.text DESC NULLS LAST, f.number DESC NULLS LAST, f.key
LIMIT $9
