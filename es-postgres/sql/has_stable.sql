-- Whether readers find something under a name.
-- Binds: none; {stable} is replaced by it. Columns: whether it exists. Locks: none.
SELECT to_regclass('{stable}') IS NOT NULL
