-- Moves a checkpoint by compare-and-set; see migrations/0003_consumers.sql.
-- Binds: $1 consumer, $2 from, $3 to. Columns: null, or where it is instead, or -1 if it is frozen. Locks: the consumer's row.
SELECT {schema}.move_checkpoint($1, $2, $3)
