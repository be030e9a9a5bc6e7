-- Sets a later savepoint in a unit of work. The one before is released, so that they do not nest.
-- Binds: none. Locks: none. Two statements, which belong together.
RELEASE SAVEPOINT es_unit; SAVEPOINT es_unit
