-- Forgets the oldest ids of messages, whole partitions at a time.
-- Binds: $1 microseconds for which ids are kept at least. Columns: of no interest.
-- Locks: where there is something to do the inbox as a whole, against everybody else, to the end of the transaction.
SELECT {schema}.rotate_inbox($1::bigint * interval '1 microsecond')
