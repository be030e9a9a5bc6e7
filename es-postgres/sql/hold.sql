-- Holds a consumer back and notes that, unless it is held in that way already.
-- Binds: $1 consumer, $2 kind of hold, $3 by whom, $4 reason or null, $5 kind of operation.
-- Result: one row changed if it was not held. Locks: the hold's row.
WITH held AS (
    INSERT INTO {schema}.holds (consumer, kind, held_by, since, reason)
    VALUES ($1, $2, $3, clock_timestamp(), $4)
    ON CONFLICT (consumer, kind) DO NOTHING
    RETURNING since
)
INSERT INTO {schema}.operations (at, kind, consumer, generation, ordered_by, reason)
SELECT h.since, $5, $1, 1, $3, $4
FROM held h
