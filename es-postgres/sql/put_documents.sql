-- Writes documents of a view, in a transaction in which the view's checkpoint was moved.
-- Binds: $1 keys and $2 documents, in pairs; {view} is replaced by the table's qualified name.
-- Locks: the documents in the order given.
INSERT INTO {view} (key, document)
SELECT c.key, c.document::json
FROM unnest($1::text[], $2::text[]) AS c (key, document)
ON CONFLICT (key) DO UPDATE
SET document = excluded.document
