-- All suspensions of consumers.
-- Binds: none. Result: rows of consumer, kind, suspended_by, since (microseconds), reason.
-- Order: by consumer and kind (paused before disabled). Locks: none.
SELECT consumer, kind, suspended_by, since, reason FROM es_suspensions ORDER BY consumer, kind DESC;
