-- Whether the table of a view exists.
-- Binds: none; {view} is replaced by the table's qualified name. Columns: whether it exists. Locks: none.
SELECT to_regclass('{view}') IS NOT NULL
