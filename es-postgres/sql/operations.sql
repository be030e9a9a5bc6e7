-- The log of operations.
-- Binds: $1 consumer or null for all, $2 before which number or null, $3 how many.
-- Columns: id, at, kind, consumer, generation, from_position, to_position, requested_by, reason.
-- Order: newest first. Locks: none.
SELECT o.id, o.at, o.kind, o.consumer, o.generation, o.from_position, o.to_position, o.requested_by, o.reason
FROM {schema}.operations o
WHERE ($1::text IS NULL OR o.consumer = $1) AND ($2::bigint IS NULL OR o.id < $2)
ORDER BY o.id DESC
LIMIT $3
