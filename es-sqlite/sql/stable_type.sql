-- What is found under a name: a table, a view, or nothing.
-- Binds: ?1 the name. Result: one row (type), or none.
-- Locks: none.
SELECT type FROM sqlite_schema WHERE name = ?1 AND type IN ('table', 'view');
