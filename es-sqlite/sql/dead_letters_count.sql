-- How many dead letters match, of each relay and consumer.
-- Binds, each NULL where it does not matter: ?1 consumer; ?2 id; ?3 type; ?4 key; ?5 reason; ?6 put aside before (microseconds);
-- ?7 whether a retry is requested.
-- Result: rows of consumer, count. Order: consumer. Locks: none.
SELECT consumer, count(*) AS count
FROM es_dead_letters
WHERE (?1 IS NULL OR consumer = ?1)
  AND (?2 IS NULL OR id = ?2)
  AND (?3 IS NULL OR message_type = ?3)
  AND (?4 IS NULL OR key = ?4)
  AND (?5 IS NULL OR reason = ?5)
  AND (?6 IS NULL OR since < ?6)
  AND (?7 IS NULL OR is_retry_requested = ?7)
GROUP BY consumer
ORDER BY consumer;
