-- Drops one generation of a table. `own_name` stands for its name.
-- Binds: none. Result: none.
-- Locks: takes the write lock.
DROP TABLE IF EXISTS "own_name";
