-- Opens, closes or frees a partition of the inbox.
-- Binds: ?1 partition; ?2 when it was opened, or NULL if it is empty; ?3 when it was closed, or NULL. Result: one row changed.
-- Locks: takes the write lock.
UPDATE es_inbox_ring
SET opened_at = ?2, closed_at = ?3, ids = iif(?2 IS NULL, 0, ids), bytes = iif(?2 IS NULL, 0, bytes)
WHERE partition = ?1;
