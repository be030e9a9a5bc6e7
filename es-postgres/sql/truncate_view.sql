-- Deletes all documents of a view at once: their number does not matter, and nothing is left to tidy up.
-- Binds: none; {view} is replaced by the table's qualified name. Locks: the table against all others, readers too, from
-- when the last of them is done to the end of the transaction.
TRUNCATE {view}
