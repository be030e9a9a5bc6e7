-- Takes a consumer's lease from its current owner.
-- Binds: ?1 consumer; ?2 owner; ?3 now; ?4 until (microseconds). Result: one row (fence).
-- Locks: takes the write lock.
INSERT INTO es_leases (consumer, fence, owner, since, renewed, until, seized) VALUES (?1, 1, ?2, ?3, ?3, ?4, 1)
ON CONFLICT (consumer) DO UPDATE
SET fence = es_leases.fence + iif(es_leases.owner IS excluded.owner, 0, 1),
    since = iif(es_leases.owner IS excluded.owner, min(es_leases.since, excluded.since), excluded.since),
    owner = excluded.owner,
    renewed = excluded.renewed,
    until = excluded.until,
    seized = 1
RETURNING fence;
