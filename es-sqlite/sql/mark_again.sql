-- Marks a later place in a unit of work. The one before is given up, so that they do not nest.
-- Binds: none. Result: none. Locks: none of its own. Two statements, which belong together.
RELEASE es_mark;
SAVEPOINT es_mark;
