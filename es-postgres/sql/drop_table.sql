-- Drops one generation of a projection's table.
-- Binds: none; {table} is replaced by the table's name. Locks: the table.
DROP TABLE IF EXISTS {table}
