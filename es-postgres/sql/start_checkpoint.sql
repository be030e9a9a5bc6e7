-- Gives a consumer a checkpoint unless it has one; see migrations/0003_consumers.sql.
-- Binds: $1 consumer, $2 position. Columns: whether it did; null if it has other partitions.
-- Locks: the partition epoch (advisory), if it has no checkpoint; the consumer's row, if it is new.
SELECT {schema}.start_checkpoint($1, $2, true)
