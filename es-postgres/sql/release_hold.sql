-- Ends a hold and notes that, if there is one.
-- Binds: $1 consumer, $2 kind of hold, $3 by whom, $4 reason or null, $5 kind of operation.
-- Result: one row changed if it was held. Locks: the hold's row.
WITH released AS (
    DELETE FROM {schema}.holds h
    WHERE h.consumer = $1 AND h.kind = $2
    RETURNING h.consumer
)
INSERT INTO {schema}.operations (at, kind, consumer, generation, ordered_by, reason)
SELECT clock_timestamp(), $5, r.consumer, 1, $3, $4
FROM released r
