-- All suspensions of consumers.
-- Binds: none. Columns: consumer, kind, suspended_by, since, reason. Order: consumer, kind (paused before disabled).
-- Locks: none.
SELECT s.consumer, s.kind, s.suspended_by, s.since, s.reason
FROM {schema}.suspensions s
ORDER BY s.consumer, s.kind DESC
