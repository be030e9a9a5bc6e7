-- Confirms messages of the outbox up to a place.
-- Binds: $1 fence, $2 tick, $3 number. Columns: 0, -1 if there is no such place, -2 if the lease went to somebody else. Locks: an
-- advisory one of the relay's, to the end of the transaction.
SELECT {schema}.confirm_outbox($1, $2, $3)
