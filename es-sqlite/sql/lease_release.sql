-- Gives a lease back, unless somebody else has had it since.
-- Binds: ?1 consumer; ?2 fence. Result: none.
-- Locks: takes the write lock.
UPDATE es_leases SET fence = fence + 1, owner = NULL, since = NULL, until = NULL WHERE consumer = ?1 AND fence = ?2;
