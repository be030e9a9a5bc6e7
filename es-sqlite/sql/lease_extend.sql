-- Extends all leases of a member.
-- Binds: ?1 member; ?2 now; ?3 until (microseconds). Result: rows of consumer.
-- Locks: takes the write lock.
UPDATE es_leases SET since = min(since, ?2), renewed = ?2, until = ?3 WHERE owner = ?1 RETURNING consumer;
