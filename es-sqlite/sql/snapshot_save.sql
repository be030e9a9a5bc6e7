-- Keeps a snapshot of an aggregate, unless the kept one has the same fingerprint and is as new.
-- Binds: ?1 stream; ?2 aggregate; ?3 version; ?4 last event (16 bytes); ?5 fingerprint; ?6 state. Result: none.
-- Locks: takes the write lock.
INSERT INTO es_snapshots (stream, aggregate, version, last_event, fingerprint, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (stream, aggregate) DO UPDATE SET
    version = excluded.version, last_event = excluded.last_event,
    fingerprint = excluded.fingerprint, state = excluded.state
WHERE NOT (es_snapshots.fingerprint = excluded.fingerprint AND es_snapshots.version >= excluded.version);
