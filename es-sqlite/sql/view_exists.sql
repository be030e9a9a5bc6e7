-- Whether a view has its table.
-- Binds: ?1 the table's name. Result: one row if it has, else none.
-- Locks: none.
SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1;
