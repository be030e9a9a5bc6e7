-- Takes the leases of a consumer, in all its generations, from whoever has them. Their fences stay, so that nobody writes under an
-- older one.
-- Binds: ?1 consumer without a generation. Result: none.
-- Locks: takes the write lock.
UPDATE es_leases SET fence = fence + 1, owner = NULL, since = NULL, until = NULL
WHERE consumer = ?1 OR substr(consumer, 1, length(?1) + 1) IN (?1 || '@', ?1 || '#');
