-- Moves a checkpoint by compare-and-set; see migrations/0003_consumers.sql.
-- Binds: $1 consumer, $2 from, $3 to, $4 fence or null, $5 layout. Columns: null, or where it is instead, -1 if it is frozen or of
-- another layout, -2 if the lease went to somebody else. Locks: the consumer's row.
SELECT {schema}.move_checkpoint($1, $2, $3, $4, $5)
