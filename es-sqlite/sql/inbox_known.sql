-- The digests of what a consumer has handled under some ids.
-- Binds: ?1 consumer; ?2 JSON [id, ...]. Result: rows of id, content. Order: none. Locks: none.
SELECT id, content FROM es_inbox_0 WHERE consumer = ?1 AND id IN (SELECT value FROM json_each(?2))
UNION ALL
SELECT id, content FROM es_inbox_1 WHERE consumer = ?1 AND id IN (SELECT value FROM json_each(?2))
UNION ALL
SELECT id, content FROM es_inbox_2 WHERE consumer = ?1 AND id IN (SELECT value FROM json_each(?2))
UNION ALL
SELECT id, content FROM es_inbox_3 WHERE consumer = ?1 AND id IN (SELECT value FROM json_each(?2));
