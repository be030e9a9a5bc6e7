-- Rolls a unit of work back to its savepoint, which stays.
-- Binds: none. Locks: those that were had since are given back.
ROLLBACK TO SAVEPOINT es_unit
