-- Takes a unit of work back to its mark, which stays.
-- Binds: none. Locks: those that were had since are given back.
ROLLBACK TO SAVEPOINT es_mark
