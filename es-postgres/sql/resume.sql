-- Ends a suspension and notes that, if there is one.
-- Binds: $1 consumer, $2 kind of suspension, $3 by whom, $4 reason or null, $5 kind of operation.
-- Result: one row changed if it was suspended. Locks: the suspension's row.
WITH resumed AS (
    DELETE FROM {schema}.suspensions s
    WHERE s.consumer = $1 AND s.kind = $2
    RETURNING s.consumer
)
INSERT INTO {schema}.operations (at, kind, consumer, generation, requested_by, reason)
SELECT clock_timestamp(), $5, r.consumer, 1, $3, $4
FROM resumed r
