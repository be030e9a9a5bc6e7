-- Notes that a dead letter, whose message is still the one that was read, was tried again and failed.
-- Binds: $1 its id, $2 headers, $3 body, $4 reason, $5 error. Result: one row changed if it was there. Locks: the dead
-- letter's row.
UPDATE {schema}.dead_letters
SET reason = $4, error = $5, attempts = attempts + 1, is_retry_requested = false
WHERE id = $1 AND headers::text = $2 AND body = $3
