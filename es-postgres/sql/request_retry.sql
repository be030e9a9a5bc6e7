-- Notes the request that a parked key is retried; an earlier request stays as it is.
-- Binds: $1 consumer, $2 key, $3 by whom, $4 why or null. Locks: the key's row.
UPDATE {schema}.parked_keys
SET retry_at = coalesce(retry_at, clock_timestamp()),
    retry_by = coalesce(retry_by, $3),
    retry_reason = CASE WHEN retry_at IS NULL THEN $4 ELSE retry_reason END
WHERE consumer = $1 AND key = $2
