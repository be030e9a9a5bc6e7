-- Revokes the leases of a consumer, in all its generations. Their fences stay, so that nobody writes under an
-- older one.
-- Binds: ?1 consumer without a generation. Result: none; the rows affected are the leases that had an owner.
-- Locks: takes the write lock.
UPDATE es_leases SET fence = fence + 1, owner = NULL, since = NULL, until = NULL
WHERE owner IS NOT NULL AND (consumer = ?1 OR substr(consumer, 1, length(?1) + 1) IN (?1 || '@', ?1 || '#'));
