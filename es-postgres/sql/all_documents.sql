-- All documents of a generation of a view.
-- Binds: none; {view} is replaced by the table's qualified name. Columns: key, content. Order: key, bytewise. Locks: none.
SELECT d.key, d.document::text AS content
FROM {view} d
ORDER BY d.key
