-- Claims a consumer's lease: a new one, one that nobody has or that ran out, or the owner's own. One from the future was granted
-- by a clock that has been set back since: it counts as run out.
-- Binds: $1 consumer, $2 owner, $3 milliseconds. Columns: fence. No row: somebody else has it. Locks: the lease's row.
INSERT INTO {schema}.leases AS l (consumer, fence, owner, since, renewed, until)
SELECT $1, 1, $2, t.now, t.now, t.now + $3::bigint * interval '1 millisecond'
FROM (SELECT clock_timestamp() AS now) t
ON CONFLICT (consumer) DO UPDATE
SET fence = CASE WHEN l.owner = excluded.owner THEN l.fence ELSE l.fence + 1 END,
    owner = excluded.owner,
    since = CASE WHEN l.owner = excluded.owner THEN least(l.since, excluded.since) ELSE excluded.since END,
    renewed = excluded.renewed,
    until = excluded.until,
    seized = false
WHERE l.owner IS NULL OR l.owner = excluded.owner OR l.until <= clock_timestamp() OR l.renewed > clock_timestamp()
RETURNING l.fence
