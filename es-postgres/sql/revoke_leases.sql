-- Revokes the leases of a consumer, in all its generations and partitions. Their fences stay, so that nobody
-- writes under an older one.
-- Binds: $1 consumer, without a generation. Columns: none; the rows affected are the leases that had an owner. Locks: their rows.
UPDATE {schema}.leases l
SET fence = l.fence + 1, owner = NULL, since = NULL, until = NULL
WHERE l.owner IS NOT NULL AND split_part(split_part(l.consumer, '#', 1), '@', 1) = $1
