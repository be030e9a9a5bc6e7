-- Drops what readers use, to make it again with other columns.
-- Binds: none; {stable} is replaced by its name. Locks: it, against readers.
DROP VIEW {stable}
