-- Claims a consumer's lease: a new one, one that nobody has or that ran out, or the owner's own.
-- Binds: $1 consumer, $2 owner, $3 milliseconds. Columns: fence. No row: somebody else has it. Locks: the lease's row.
INSERT INTO {schema}.leases AS l (consumer, fence, owner, since, until)
VALUES ($1, 1, $2, clock_timestamp(), clock_timestamp() + $3::bigint * interval '1 millisecond')
ON CONFLICT (consumer) DO UPDATE
SET fence = CASE WHEN l.owner = excluded.owner THEN l.fence ELSE l.fence + 1 END,
    owner = excluded.owner,
    since = CASE WHEN l.owner = excluded.owner THEN l.since ELSE excluded.since END,
    until = excluded.until
WHERE l.owner IS NULL OR l.owner = excluded.owner OR l.until <= clock_timestamp()
RETURNING l.fence
