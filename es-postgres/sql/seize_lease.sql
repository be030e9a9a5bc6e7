-- Takes a consumer's lease from its current owner.
-- Binds: $1 consumer, $2 owner, $3 milliseconds. Columns: fence. Locks: the lease's row.
INSERT INTO {schema}.leases AS l (consumer, fence, owner, since, renewed, until, seized)
SELECT $1, 1, $2, t.now, t.now, t.now + $3::bigint * interval '1 millisecond', true
FROM (SELECT clock_timestamp() AS now) t
ON CONFLICT (consumer) DO UPDATE
SET fence = CASE WHEN l.owner = excluded.owner THEN l.fence ELSE l.fence + 1 END,
    owner = excluded.owner,
    since = CASE WHEN l.owner = excluded.owner THEN least(l.since, excluded.since) ELSE excluded.since END,
    renewed = excluded.renewed,
    until = excluded.until,
    seized = true
RETURNING l.fence
