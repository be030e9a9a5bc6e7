-- Sets a later savepoint in a unit of work. The one before is released, so that they do not nest.
-- Binds: none. Result: none. Locks: none of its own. Two statements, which belong together.
RELEASE es_unit;
SAVEPOINT es_unit;
