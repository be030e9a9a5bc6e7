-- Notes in the open partition, whose number takes the place of {open}, that messages are handled by a consumer.
-- Binds: ?1 consumer; ?2 JSON [id, ...], each once. Result: rows of id, those that are new. Order: none.
-- Locks: takes the write lock.
INSERT INTO es_inbox_{open} (consumer, id)
SELECT ?1, value
FROM json_each(?2)
WHERE NOT EXISTS (SELECT 1 FROM es_inbox_0 WHERE consumer = ?1 AND id = value)
  AND NOT EXISTS (SELECT 1 FROM es_inbox_1 WHERE consumer = ?1 AND id = value)
  AND NOT EXISTS (SELECT 1 FROM es_inbox_2 WHERE consumer = ?1 AND id = value)
  AND NOT EXISTS (SELECT 1 FROM es_inbox_3 WHERE consumer = ?1 AND id = value)
RETURNING id;
