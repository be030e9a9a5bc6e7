-- How much is parked.
-- Binds: none. Columns: consumer, keys, events. Order: consumer. Locks: none.
SELECT k.consumer, count(*), sum(k.events)::bigint
FROM {schema}.parked_keys k
GROUP BY k.consumer
ORDER BY k.consumer
