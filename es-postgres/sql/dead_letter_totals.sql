-- How many dead letters each relay or consumer has and had.
-- Columns: consumer, how many, since when the oldest is there or null, how many there ever were. Order: consumer. Locks: none.
SELECT t.consumer, count(d.consumer), min(d.since), t.ever
FROM {schema}.dead_letter_totals t
LEFT JOIN {schema}.dead_letters d ON d.consumer = t.consumer
GROUP BY t.consumer, t.ever
ORDER BY t.consumer
