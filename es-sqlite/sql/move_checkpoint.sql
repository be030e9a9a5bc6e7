-- Moves a checkpoint if it is where the caller believes it to be; one that does not exist is at 0, unless it is that of a partition
-- or of the whole of what has partitions. Nothing stays ahead of one that moves back.
-- Binds: ?1 consumer; ?2 from; ?3 to; ?4 now (microseconds); ?5 the fence of a lease, or NULL; ?6 layout.
-- Result: one row (position) if it was moved, none if it was elsewhere, is frozen or of another layout, or the lease has another
-- fence by now.
-- Locks: takes the write lock.
INSERT INTO es_checkpoints (consumer, position, updated_at)
SELECT ?1, ?3, ?4
WHERE (
    EXISTS (SELECT 1 FROM es_checkpoints c WHERE c.consumer = ?1)
    OR (
        ?2 = 0 AND ?6 = 0 AND instr(?1, '#') = 0
        AND NOT EXISTS (SELECT 1 FROM es_checkpoints c WHERE c.consumer > ?1 || '#' AND c.consumer < ?1 || '$')
    )
)
  AND (?5 IS NULL OR EXISTS (SELECT 1 FROM es_leases l WHERE l.consumer = ?1 AND l.fence = ?5))
ON CONFLICT (consumer) DO UPDATE SET
    position = excluded.position,
    updated_at = excluded.updated_at,
    ahead = iif(?3 >= ?2, es_checkpoints.ahead, NULL),
    layout = es_checkpoints.layout + (?3 < ?2 AND es_checkpoints.ahead IS NOT NULL)
WHERE es_checkpoints.position = ?2 AND es_checkpoints.layout = ?6 AND NOT es_checkpoints.is_frozen
RETURNING position;
