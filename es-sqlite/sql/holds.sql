-- Everybody who is held back.
-- Binds: none. Result: rows of consumer, kind, held_by, since (microseconds), reason.
-- Order: by consumer and kind (paused before disabled). Locks: none.
SELECT consumer, kind, held_by, since, reason FROM es_holds ORDER BY consumer, kind DESC;
