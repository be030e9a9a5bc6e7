-- Moves a checkpoint if it is where the caller believes it to be; one that does not exist is at 0, unless it is that of a partition
-- or of the unpartitioned name of what has partitions. One that moves back keeps no slot offsets.
-- Binds: ?1 consumer; ?2 from; ?3 to; ?4 now (microseconds); ?5 the fence of a lease, or NULL; ?6 partition epoch; ?7 a
-- position and
--   ?8 the hex id of the event that the mover has seen there, or NULL.
-- Result: one row (position) if it was moved, none if it was elsewhere, is frozen or of another partition epoch, or the
-- lease has another fence by now, or the log does not hold the event that the mover has seen.
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
    slot_offsets_event_id = iif(?3 >= ?2, es_checkpoints.slot_offsets_event_id, NULL),
    slot_offsets = iif(?3 >= ?2, es_checkpoints.slot_offsets, NULL),
    partition_epoch = es_checkpoints.partition_epoch + (?3 < ?2 AND es_checkpoints.slot_offsets IS NOT NULL)
WHERE es_checkpoints.position = ?2 AND es_checkpoints.partition_epoch = ?6 AND NOT es_checkpoints.is_frozen
RETURNING position;
