-- Puts events aside and lets others go; see migrations/0005_parking.sql.
-- Binds: $1 consumer, $2 keys, $3 positions, $4 errors and $5 attempts of events to put aside, $6 keys and $7 positions of
-- events that leave. Columns: null, or the key whose events are not what the caller believes.
-- Locks: the rows of the keys in order, then their events.
SELECT {schema}.change_parked($1, $2, $3, $4, $5, $6, $7)
