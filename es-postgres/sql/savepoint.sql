-- Sets a savepoint in a unit of work, to which it can be rolled back.
-- Binds: none. Locks: none.
SAVEPOINT es_unit
