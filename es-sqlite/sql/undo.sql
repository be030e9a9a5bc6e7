-- Takes a unit of work back to its mark, which stays.
-- Binds: none. Result: none. Locks: none of its own.
ROLLBACK TO es_mark;
