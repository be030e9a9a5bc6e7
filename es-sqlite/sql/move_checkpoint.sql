-- Moves a checkpoint if it is where the caller believes it to be; one that does not exist is at 0, unless it is that of a partition
-- or of the whole of what has partitions. Nothing stays ahead of one that moves back.
-- Binds: ?1 consumer; ?2 from; ?3 to; ?4 now (microseconds); ?5 the fence of a lease, or NULL; ?6 layout; ?7 a position and
--   ?8 the hex id of the event that the mover has seen there, or NULL.
-- Result: one row (position) if it was moved, none if it was elsewhere, is frozen or of another layout, or the lease has another
-- fence by now, or the log does not hold the event that the mover has seen.
-- Locks: takes the write lock.
INSERT INTO es_checkpoints (consumer, position, updated_at, event_id)
SELECT ?1, ?3, ?4, (SELECT e.event_id FROM es_events e WHERE e.position = ?3)
WHERE (
    EXISTS (SELECT 1 FROM es_checkpoints c WHERE c.consumer = ?1)
    OR (
        ?2 = 0 AND ?6 = 0 AND instr(?1, '#') = 0
        AND NOT EXISTS (SELECT 1 FROM es_checkpoints c WHERE c.consumer > ?1 || '#' AND c.consumer < ?1 || '$')
    )
)
  AND (?5 IS NULL OR EXISTS (SELECT 1 FROM es_leases l WHERE l.consumer = ?1 AND l.fence = ?5))
  -- An event that is not there may have been removed from the log, unless the log ends before it.
  AND (
      ?7 IS NULL
      OR coalesce(
          (SELECT e.event_id = unhex(?8) FROM es_events e WHERE e.position = ?7),
          ?7 <= (SELECT coalesce(max(l.position), 0) FROM es_events l)
      )
  )
ON CONFLICT (consumer) DO UPDATE SET
    position = excluded.position,
    updated_at = excluded.updated_at,
    event_id = excluded.event_id,
    ahead_event_id = iif(?3 >= ?2, es_checkpoints.ahead_event_id, NULL),
    ahead = iif(?3 >= ?2, es_checkpoints.ahead, NULL),
    layout = es_checkpoints.layout + (?3 < ?2 AND es_checkpoints.ahead IS NOT NULL)
WHERE es_checkpoints.position = ?2 AND es_checkpoints.layout = ?6 AND NOT es_checkpoints.is_frozen
RETURNING position;
