-- The snapshot of an aggregate.
-- Binds: $1 stream, $2 aggregate. Columns: version, last_event, fingerprint, state. Locks: none.
SELECT s.version, s.last_event, s.fingerprint, s.state
FROM {schema}.snapshots s
WHERE s.stream = $1
  AND s.aggregate = $2
