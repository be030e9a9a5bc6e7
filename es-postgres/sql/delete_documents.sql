-- Deletes documents of a view.
-- Binds: $1 keys; {view} is replaced by the table's qualified name. Locks: the documents.
DELETE FROM {view} d
WHERE d.key = ANY ($1)
