-- Claims a consumer's lease: a new one, one that nobody has or that ran out, or the owner's own.
-- Binds: ?1 consumer; ?2 owner; ?3 now; ?4 until (microseconds). Result: one row (fence), or none if somebody else has it.
-- Locks: takes the write lock.
INSERT INTO es_leases (consumer, fence, owner, since, until) VALUES (?1, 1, ?2, ?3, ?4)
ON CONFLICT (consumer) DO UPDATE
SET fence = es_leases.fence + iif(es_leases.owner IS excluded.owner, 0, 1),
    since = iif(es_leases.owner IS excluded.owner, es_leases.since, excluded.since),
    owner = excluded.owner,
    until = excluded.until
WHERE es_leases.owner IS NULL OR es_leases.owner = excluded.owner OR es_leases.until <= ?3
RETURNING fence;
