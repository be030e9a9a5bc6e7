-- Drops what readers use, if it is a view of the tables of generations.
-- Binds: none; {stable} is replaced by its name. Locks: it, against readers.
DROP VIEW IF EXISTS {stable}
