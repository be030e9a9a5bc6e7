-- The snapshot of an aggregate.
-- Binds: ?1 stream; ?2 aggregate. Result: at most one row: version, last_event (16 bytes), fingerprint, state.
-- Locks: none.
SELECT version, last_event, fingerprint, state FROM es_snapshots WHERE stream = ?1 AND aggregate = ?2;
