-- Gives a lease back, unless somebody else has had it since.
-- Binds: $1 consumer, $2 fence. Locks: the lease's row.
UPDATE {schema}.leases l
SET fence = l.fence + 1, owner = NULL, since = NULL, until = NULL
WHERE l.consumer = $1 AND l.fence = $2
