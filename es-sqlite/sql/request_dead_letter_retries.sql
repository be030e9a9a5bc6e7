-- Requests a retry of all dead letters that match.
-- Binds, each NULL where it does not matter: ?1 consumer; ?2 id; ?3 type; ?4 key; ?5 reason; ?6 put aside before (microseconds);
-- ?7 whether a retry is requested.
-- Result: a row changed for each. Locks: takes the write lock.
UPDATE es_dead_letters
SET is_retry_requested = 1
WHERE (?1 IS NULL OR consumer = ?1)
  AND (?2 IS NULL OR id = ?2)
  AND (?3 IS NULL OR message_type = ?3)
  AND (?4 IS NULL OR key = ?4)
  AND (?5 IS NULL OR reason = ?5)
  AND (?6 IS NULL OR since < ?6)
  AND (?7 IS NULL OR is_retry_requested = ?7);
