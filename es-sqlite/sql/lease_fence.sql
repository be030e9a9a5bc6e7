-- Whether a consumer's lease has a fence.
-- Binds: ?1 consumer; ?2 fence. Result: one row (1) if it has. Locks: none.
SELECT 1 FROM es_leases WHERE consumer = ?1 AND fence = ?2;
