-- Notes in the open partition, whose number takes the place of {open}, that messages are handled by a consumer.
-- Binds: ?1 consumer; ?2 JSON [[id, digest of the content], ...], each id once. Result: rows of id, those that are new. Order: none.
-- Locks: takes the write lock.
INSERT INTO es_inbox_{open} (consumer, id, content)
SELECT ?1, asked.value ->> 0, asked.value ->> 1
FROM json_each(?2) AS asked
WHERE NOT EXISTS (SELECT 1 FROM es_inbox_0 WHERE consumer = ?1 AND id = asked.value ->> 0)
  AND NOT EXISTS (SELECT 1 FROM es_inbox_1 WHERE consumer = ?1 AND id = asked.value ->> 0)
  AND NOT EXISTS (SELECT 1 FROM es_inbox_2 WHERE consumer = ?1 AND id = asked.value ->> 0)
  AND NOT EXISTS (SELECT 1 FROM es_inbox_3 WHERE consumer = ?1 AND id = asked.value ->> 0)
RETURNING id;
