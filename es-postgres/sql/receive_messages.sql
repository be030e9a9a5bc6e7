-- Notes that messages are handled, and says which are new.
-- Binds: $1 consumer, $2 ids, each once, in order, $3 milliseconds to wait for a lock, 0 for ever.
-- Columns: null if all are new, or those that are.
-- Locks: the inbox as a whole, shared, and each id, to the end of the transaction.
SELECT {schema}.receive_messages($1, $2, $3)
