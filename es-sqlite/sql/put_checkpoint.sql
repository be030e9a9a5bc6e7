-- Puts a checkpoint elsewhere.
-- Binds: ?1 consumer in its generation; ?2 position; ?3 now (microseconds). Result: none.
-- Locks: takes the write lock.
UPDATE es_checkpoints SET
    position = ?2,
    updated_at = ?3,
    ahead = iif(?2 < position, NULL, ahead),
    layout = layout + iif(?2 < position AND ahead IS NOT NULL, 1, 0)
WHERE consumer = ?1;
