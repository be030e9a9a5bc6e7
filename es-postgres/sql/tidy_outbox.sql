-- Empties partitions of the outbox, and lets writers go on in an empty one.
-- Binds: $1 bytes of a partition, $2 rows of progress. Columns: of no interest. Locks: partitions, exclusively, if nobody has them.
SELECT {schema}.tidy_outbox($1, $2)
