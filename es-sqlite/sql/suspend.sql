-- Suspends a consumer, unless it is suspended in that way already.
-- Binds: ?1 consumer; ?2 kind; ?3 by whom; ?4 now (microseconds); ?5 reason or NULL. Result: none; one row
-- changed if it was not suspended.
-- Locks: takes the write lock.
INSERT INTO es_suspensions (consumer, kind, suspended_by, since, reason) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (consumer, kind) DO NOTHING;
