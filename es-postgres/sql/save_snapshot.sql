-- Keeps a snapshot of an aggregate, unless the kept one has the same fingerprint and is as new.
-- Binds: $1 stream, $2 aggregate, $3 version, $4 last event, $5 fingerprint, $6 state as text. Locks: the snapshot's
-- row.
INSERT INTO {schema}.snapshots AS s (stream, aggregate, version, last_event, fingerprint, state, saved_at)
VALUES ($1, $2, $3, $4, $5, $6::text::json, clock_timestamp())
ON CONFLICT (stream, aggregate) DO UPDATE
SET version = excluded.version,
    last_event = excluded.last_event,
    fingerprint = excluded.fingerprint,
    state = excluded.state,
    saved_at = excluded.saved_at
WHERE s.fingerprint <> excluded.fingerprint OR s.version < excluded.version
