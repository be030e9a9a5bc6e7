-- Extends all leases of a member.
-- Binds: ?1 member; ?2 until (microseconds). Result: rows of consumer.
-- Locks: takes the write lock.
UPDATE es_leases SET until = ?2 WHERE owner = ?1 RETURNING consumer;
