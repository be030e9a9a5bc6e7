-- Lets readers read one generation of a table. `stable_name` stands for the name that readers use, `own_name` for the name
-- of the generation's table.
-- Binds: none. Result: none.
-- Locks: takes the write lock.
CREATE VIEW "stable_name" AS SELECT * FROM "own_name";
