-- Who has a consumer's lease.
-- Binds: ?1 consumer. Result: one row (consumer, owner, since, until), or none if nobody has it. Locks: none.
SELECT consumer, owner, since, until FROM es_leases WHERE consumer = ?1 AND owner IS NOT NULL;
