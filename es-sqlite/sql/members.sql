-- Who would run what at the moment.
-- Binds: ?1 now (microseconds). Result: rows of consumer, member.
-- Order: by consumer, then by member. Locks: none.
SELECT consumer, member FROM es_members WHERE until > ?1 AND renewed <= ?1 ORDER BY consumer, member;
