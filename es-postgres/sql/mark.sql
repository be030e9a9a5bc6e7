-- Marks a place in a unit of work, to which it can be taken back.
-- Binds: none. Locks: none.
SAVEPOINT es_mark
