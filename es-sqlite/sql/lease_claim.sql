-- Claims a consumer's lease: a new one, one that nobody has or that ran out, or the owner's own. One from the future was granted
-- by a clock that has been set back since: it counts as run out.
-- Binds: ?1 consumer; ?2 owner; ?3 now; ?4 until (microseconds). Result: one row (fence), or none if somebody else has it.
-- Locks: takes the write lock.
INSERT INTO es_leases (consumer, fence, owner, since, renewed, until) VALUES (?1, 1, ?2, ?3, ?3, ?4)
ON CONFLICT (consumer) DO UPDATE
SET fence = es_leases.fence + iif(es_leases.owner IS excluded.owner, 0, 1),
    since = iif(es_leases.owner IS excluded.owner, min(es_leases.since, excluded.since), excluded.since),
    owner = excluded.owner,
    renewed = excluded.renewed,
    until = excluded.until,
    seized = 0
WHERE es_leases.owner IS NULL
    OR es_leases.owner = excluded.owner
    OR es_leases.until <= ?3
    OR es_leases.renewed > ?3
RETURNING fence;
