-- Notes that messages are handled, and says which were before.
-- Binds: $1 consumer, $2 ids, each once, in order, $3 digests of their contents, $4 milliseconds to wait for a lock, 0 without limit.
-- Columns: ids that were handled before, the digests of the contents that were; null if all are new.
-- Locks: the inbox as a whole, shared, and each id, to the end of the transaction.
SELECT known_ids, known_contents FROM {schema}.receive_messages($1, $2, $3, $4)
