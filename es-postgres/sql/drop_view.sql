-- Drops the documents of a generation.
-- Binds: none; {view} is replaced by the table's qualified name. Locks: the table.
DROP TABLE IF EXISTS {view}
