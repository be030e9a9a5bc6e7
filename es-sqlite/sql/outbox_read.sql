-- The next messages of the outbox that are not confirmed, in order; the last is the one that brings them to the bytes.
-- Binds: ?1 messages; ?2 bytes. Result: rows (id, enqueued_at, available_at, topic, key, headers, body). Locks: none.
WITH sizes AS MATERIALIZED (
    SELECT id, length(body) + length(CAST(headers AS BLOB)) AS size
    FROM es_outbox_0
    WHERE id > (SELECT confirmed_id FROM es_outbox_state)
    UNION ALL
    SELECT id, length(body) + length(CAST(headers AS BLOB)) AS size
    FROM es_outbox_1
    WHERE id > (SELECT confirmed_id FROM es_outbox_state)
    ORDER BY id
    LIMIT (SELECT ?1)
), page AS MATERIALIZED (
    SELECT id, sum(size) OVER (ORDER BY id) - size AS bytes_before FROM sizes
)
SELECT m.id, m.enqueued_at, m.available_at, m.topic, m.key, m.headers, m.body
FROM page p CROSS JOIN es_outbox_0 m ON m.id = p.id
WHERE p.bytes_before < ?2
UNION ALL
SELECT m.id, m.enqueued_at, m.available_at, m.topic, m.key, m.headers, m.body
FROM page p CROSS JOIN es_outbox_1 m ON m.id = p.id
WHERE p.bytes_before < ?2
ORDER BY 1;
