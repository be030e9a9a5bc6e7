-- Deletes all documents of a view.
-- Binds: none; {view} is replaced by the table's qualified name. Locks: the documents.
DELETE FROM {view}
