-- The log of operations.
-- Binds: ?1 consumer or NULL for all; ?2 before which number or NULL; ?3 how many.
-- Result: rows of id, at (microseconds), kind, consumer, generation, from_position, to_position, requested_by, reason.
-- Order: newest first. Locks: none.
SELECT id, at, kind, consumer, generation, from_position, to_position, requested_by, reason
FROM es_operations
WHERE (?1 IS NULL OR consumer = ?1) AND (?2 IS NULL OR id < ?2)
ORDER BY id DESC
LIMIT (SELECT ?3);
