-- Notes that a parked key was tried again and failed.
-- Binds: $1 consumer, $2 key, $3 error, $4 attempts. Locks: the key's row.
UPDATE {schema}.parked_keys
SET last_error = $3, attempts = attempts + $4, tried_at = clock_timestamp(),
    retry_at = NULL, retry_by = NULL, retry_reason = NULL
WHERE consumer = $1 AND key = $2
