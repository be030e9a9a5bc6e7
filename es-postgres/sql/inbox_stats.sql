-- How much the inbox remembers.
-- Columns: ids, as the server's statistics know them; bytes of storage. Locks: none.
SELECT coalesce(sum(pg_stat_get_live_tuples(c.oid)), 0)::bigint, coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM pg_class c
WHERE c.relnamespace = '{schema}'::regnamespace
  AND c.relname IN ('inbox_0', 'inbox_1', 'inbox_2', 'inbox_3')
