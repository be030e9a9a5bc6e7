-- Deletes all documents of a view one by one, without waiting for readers or letting them wait.
-- Binds: none; {view} is replaced by the table's qualified name. Locks: the documents.
DELETE FROM {view}
