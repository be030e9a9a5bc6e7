-- Suspends a consumer and notes that, unless it is suspended in that way already.
-- Binds: $1 consumer, $2 kind of suspension, $3 by whom, $4 reason or null, $5 kind of operation.
-- Result: one row changed if it was not suspended. Locks: the suspension's row.
WITH suspended AS (
    INSERT INTO {schema}.suspensions (consumer, kind, suspended_by, since, reason)
    VALUES ($1, $2, $3, clock_timestamp(), $4)
    ON CONFLICT (consumer, kind) DO NOTHING
    RETURNING since
)
INSERT INTO {schema}.operations (at, kind, consumer, generation, requested_by, reason)
SELECT s.since, $5, $1, 1, $3, $4
FROM suspended s
