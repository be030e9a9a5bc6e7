-- How many dead letters each relay or consumer has and had.
-- Binds: none. Result: rows of consumer, depth, oldest (NULL if there is none), ever. Order: consumer. Locks: none.
SELECT t.consumer, count(d.consumer) AS depth, min(d.since) AS oldest, t.ever
FROM es_dead_letter_totals t
LEFT JOIN es_dead_letters d ON d.consumer = t.consumer
GROUP BY t.consumer
ORDER BY t.consumer;
