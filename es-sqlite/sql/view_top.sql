-- The documents with the largest number in a top-level field. `es_view_name` stands for the view's table.
-- Binds: ?1 field; ?2 most documents.
-- Result: rows of key, document. Order: the number, largest first; those without one last; then by key, bytewise.
-- Locks: none. Reads every document of the view.
SELECT key, document FROM es_view_name
ORDER BY
    (
        SELECT iif(field.type IN ('integer', 'real'), field.value, NULL)
        FROM json_each(es_view_name.document) field
        WHERE field.key = ?1
        LIMIT 1
    ) DESC NULLS LAST,
    key
LIMIT (SELECT ?2);
