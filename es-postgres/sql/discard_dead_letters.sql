-- Throws away all dead letters that match.
-- Binds, each null where it does not matter: $1 consumer, $2 id, $3 type, $4 key, $5 reason, $6 put aside before, $7 whether a retry
-- is requested.
-- Columns: consumer, how many of it. Order: consumer. Locks: the rows of the dead letters.
WITH gone AS (
    DELETE FROM {schema}.dead_letters AS d
    WHERE ($1::text IS NULL OR d.consumer = $1)
      AND ($2::bigint IS NULL OR d.id = $2)
      AND ($3::text IS NULL OR d.message_type = $3)
      AND ($4::text IS NULL OR d.key = $4)
      AND ($5::text IS NULL OR d.reason = $5)
      AND ($6::timestamptz IS NULL OR d.since < $6)
      AND ($7::boolean IS NULL OR d.is_retry_requested = $7)
    RETURNING d.consumer
)
SELECT g.consumer, count(*)
FROM gone g
GROUP BY g.consumer
ORDER BY g.consumer
