-- What waits in the outbox: due messages too, which have no number yet.
-- Binds: ?1 now; ?2 how many are counted. Result: one row (waiting, due, oldest, oldest_due, delayed, bytes). Locks: none.
SELECT s.last_id - s.confirmed_id AS waiting,
    (SELECT count(*) FROM (SELECT 1 FROM es_outbox_delayed WHERE available_at <= ?1 LIMIT (SELECT ?2))) AS due,
    coalesce(
        (SELECT enqueued_at FROM es_outbox_0 WHERE id = s.confirmed_id + 1),
        (SELECT enqueued_at FROM es_outbox_1 WHERE id = s.confirmed_id + 1)
    ) AS oldest,
    (SELECT min(available_at) FROM es_outbox_delayed WHERE available_at <= ?1) AS oldest_due,
    (SELECT count(*) FROM (SELECT 1 FROM es_outbox_delayed WHERE available_at > ?1 LIMIT (SELECT ?2))) AS delayed,
    s.bytes_0 + s.bytes_1 + s.bytes_delayed AS bytes
FROM es_outbox_state s;
