-- Moves a checkpoint by compare-and-set; see migrations/0003_consumers.sql. From here on the server ends the transaction if
-- it hears nothing of its owner for some time.
-- Binds: $1 consumer, $2 from, $3 to, $4 fence, $5 layout, $6 milliseconds as text. Columns: null, or where it is instead, -1 if it is
-- frozen or of another layout, -2 if the lease went to somebody else. Locks: the consumer's row.
SELECT {schema}.move_checkpoint($1, $2, $3, $4, $5), set_config('idle_in_transaction_session_timeout', $6, true)
