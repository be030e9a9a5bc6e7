-- Undoes the work of an inline projection; the append stays.
-- Binds: none. Result: none. Locks: none of its own. Two statements, since the first leaves the savepoint in place.
ROLLBACK TO es_inline;
RELEASE es_inline;
