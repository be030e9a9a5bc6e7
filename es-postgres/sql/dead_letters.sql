-- Dead letters that match, after one of them.
-- Binds, each null where it does not matter: $1 consumer, $2 id, $3 type, $4 key, $5 reason, $6 put aside before, $7 whether a retry
-- is requested. And $8 after which id, $9 how many.
-- Columns: id, since, is_retry_requested, consumer, message_id, message_type, topic, key, reason, error, attempts,
-- headers, body.
-- Order: id. Locks: none.
SELECT d.id, d.since, d.is_retry_requested, d.consumer, d.message_id, d.message_type, d.topic, d.key, d.reason, d.error, d.attempts,
       d.headers, d.body
FROM {schema}.dead_letters d
WHERE ($1::text IS NULL OR d.consumer = $1)
  AND ($2::bigint IS NULL OR d.id = $2)
  AND ($3::text IS NULL OR d.message_type = $3)
  AND ($4::text IS NULL OR d.key = $4)
  AND ($5::text IS NULL OR d.reason = $5)
  AND ($6::timestamptz IS NULL OR d.since < $6)
  AND ($7::boolean IS NULL OR d.is_retry_requested = $7)
  AND d.id > $8
ORDER BY d.id
LIMIT $9
