-- Marks a place in a unit of work, to which it can be taken back.
-- Binds: none. Result: none. Locks: none of its own.
SAVEPOINT es_mark;
