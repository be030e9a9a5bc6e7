-- Everybody who is held back.
-- Binds: none. Columns: consumer, kind, held_by, since, reason. Order: consumer, kind (paused before disabled). Locks: none.
SELECT h.consumer, h.kind, h.held_by, h.since, h.reason
FROM {schema}.holds h
ORDER BY h.consumer, h.kind DESC
