-- How much is parked.
-- Binds: none. Result: rows of consumer, keys, events. Order: by consumer. Locks: none.
SELECT consumer, count(*) AS keys, sum(events) AS events FROM es_parked_keys GROUP BY consumer ORDER BY consumer;
