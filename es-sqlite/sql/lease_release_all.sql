-- Gives all leases of a member back.
-- Binds: ?1 member. Result: none.
-- Locks: takes the write lock.
UPDATE es_leases SET fence = fence + 1, owner = NULL, since = NULL, until = NULL WHERE owner = ?1;
