-- The snapshot of a stream.
-- Binds: $1 stream. Columns: version, last_event, fingerprint, state. Locks: none.
SELECT s.version, s.last_event, s.fingerprint, s.state
FROM {schema}.snapshots s
WHERE s.stream = $1
