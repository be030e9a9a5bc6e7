-- Sets a savepoint in a unit of work, to which it can be rolled back.
-- Binds: none. Result: none. Locks: none of its own.
SAVEPOINT es_unit;
