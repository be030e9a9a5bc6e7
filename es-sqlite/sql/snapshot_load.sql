-- The snapshot of a stream.
-- Binds: ?1 stream. Result: at most one row: version, last_event (16 bytes), fingerprint, state.
-- Locks: none.
SELECT version, last_event, fingerprint, state FROM es_snapshots WHERE stream = ?1;
