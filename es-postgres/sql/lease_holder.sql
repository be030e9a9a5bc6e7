-- Who has a consumer's lease.
-- Binds: $1 consumer. Columns: owner, since, until. No row: nobody. Locks: none.
SELECT l.owner, l.since, l.until
FROM {schema}.leases l
WHERE l.consumer = $1 AND l.owner IS NOT NULL
