-- Drops what readers use, to make it again. `stable_name` stands for its name.
-- Binds: none. Result: none.
-- Locks: takes the write lock.
DROP VIEW IF EXISTS "stable_name";
