-- Who has which lease at the moment.
-- Binds: ?1 now (microseconds). Result: rows of consumer, owner, since, until (microseconds).
-- Order: by consumer. Locks: none.
SELECT consumer, owner, since, until FROM es_leases WHERE until > ?1 AND renewed <= ?1 ORDER BY consumer;
