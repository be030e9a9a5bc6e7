-- Moves a checkpoint by compare-and-set; see migrations/0003_consumers.sql. From here on the server ends the transaction if
-- it hears nothing of its owner for some time.
-- Binds: $1 consumer, $2 from, $3 to, $4 fence, $5 partition epoch, $6 milliseconds as text, $7 a position and $8 the
-- id of the event that was seen there, or null. Columns: null, or where it is instead, -1 if it is
-- frozen or of another partition epoch, -2 if another process has the lease, -3 if the log went back. Locks: the
-- consumer's row.
SELECT {schema}.move_checkpoint($1, $2, $3, $4, $5, $7, $8), set_config('idle_in_transaction_session_timeout', $6, true)
