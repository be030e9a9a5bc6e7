-- Who has which lease at the moment.
-- Binds: none. Columns: consumer, owner, since, until. Order: consumer. Locks: none.
SELECT l.consumer, l.owner, l.since, l.until
FROM {schema}.leases l
WHERE l.until > clock_timestamp() AND l.renewed <= clock_timestamp()
ORDER BY l.consumer
