-- Marks a later place in a unit of work. The one before is given up, so that they do not nest.
-- Binds: none. Locks: none. Two statements, which belong together.
RELEASE SAVEPOINT es_mark; SAVEPOINT es_mark
