-- Undoes one of the writes that share a transaction; the others stay.
-- Binds: none. Result: none. Locks: none of its own. Two statements, since the first leaves the savepoint in place.
ROLLBACK TO es_member;
RELEASE es_member;
