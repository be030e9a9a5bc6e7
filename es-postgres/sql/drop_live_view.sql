-- Drops what stands for the live documents of a view.
-- Binds: none; {live} is replaced by its qualified name. Locks: it, against readers.
DROP VIEW IF EXISTS {live}
