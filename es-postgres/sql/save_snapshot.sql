-- Keeps a snapshot, unless the kept one has the same fingerprint and is as new.
-- Binds: $1 stream, $2 version, $3 last event, $4 fingerprint, $5 state as text. Locks: the stream's row.
INSERT INTO {schema}.snapshots AS s (stream, version, last_event, fingerprint, state, saved_at)
VALUES ($1, $2, $3, $4, $5::text::json, clock_timestamp())
ON CONFLICT (stream) DO UPDATE
SET version = excluded.version,
    last_event = excluded.last_event,
    fingerprint = excluded.fingerprint,
    state = excluded.state,
    saved_at = excluded.saved_at
WHERE s.fingerprint <> excluded.fingerprint OR s.version < excluded.version
