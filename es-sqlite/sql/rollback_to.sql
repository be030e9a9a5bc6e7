-- Rolls a unit of work back to its savepoint, which stays.
-- Binds: none. Result: none. Locks: none of its own.
ROLLBACK TO es_unit;
