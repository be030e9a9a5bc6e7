-- The partitions of the inbox that are not empty.
-- Binds: none. Result: rows of partition, opened_at, closed_at (NULL: it is open), ids, bytes. Order: the open one first.
-- Locks: none; to be read in a transaction that writes, where the answer matters.
SELECT partition, opened_at, closed_at, ids, bytes
FROM es_inbox_ring
WHERE opened_at IS NOT NULL
ORDER BY closed_at IS NOT NULL, closed_at;
