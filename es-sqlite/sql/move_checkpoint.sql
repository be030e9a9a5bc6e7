-- Moves a checkpoint if it is where the caller believes it to be; one that does not exist is at 0.
-- Binds: ?1 consumer; ?2 from; ?3 to; ?4 now (microseconds); ?5 the fence of a lease, or NULL.
-- Result: one row (position) if it was moved, none if it was elsewhere, is frozen, or the lease has another fence by now.
-- Locks: takes the write lock.
INSERT INTO es_checkpoints (consumer, position, updated_at)
SELECT ?1, ?3, ?4
WHERE (?2 = 0 OR EXISTS (SELECT 1 FROM es_checkpoints c WHERE c.consumer = ?1))
  AND (?5 IS NULL OR EXISTS (SELECT 1 FROM es_leases l WHERE l.consumer = ?1 AND l.fence = ?5))
ON CONFLICT (consumer) DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at
WHERE es_checkpoints.position = ?2 AND NOT es_checkpoints.is_frozen
RETURNING position;
