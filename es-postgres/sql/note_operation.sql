-- Notes an operation.
-- Binds: $1 kind, $2 consumer, $3 generation, $4 from, $5 to (or null), $6 by whom, $7 reason or null. Locks: none.
INSERT INTO {schema}.operations (at, kind, consumer, generation, from_position, to_position, requested_by, reason)
VALUES (clock_timestamp(), $1, $2, $3, $4, $5, $6, $7)
