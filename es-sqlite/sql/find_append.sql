-- The outcome of the append with an idempotency key.
-- Binds: ?1 key. Result: at most one row: streams (JSON), recorded_at (microseconds).
-- Locks: none.
SELECT streams, recorded_at FROM es_appends WHERE key = ?1;
