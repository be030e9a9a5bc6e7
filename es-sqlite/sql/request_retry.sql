-- Notes the request that a parked key is retried; an earlier request stays as it is.
-- Binds: ?1 consumer; ?2 key; ?3 now (microseconds); ?4 by whom; ?5 why, or NULL. Result: none; no row is changed if it is
-- not parked.
-- Locks: takes the write lock.
UPDATE es_parked_keys
SET
    retry_at = coalesce(retry_at, ?3),
    retry_by = coalesce(retry_by, ?4),
    retry_reason = iif(retry_at IS NULL, ?5, retry_reason)
WHERE consumer = ?1 AND key = ?2;
