-- Moves delayed messages whose time has come behind the others.
-- Binds: $1 how many at most. Columns: how many. Locks: the rows that it moves.
SELECT {schema}.move_due($1)
