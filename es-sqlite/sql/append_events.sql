-- Stores events. An SQLite without `jsonb_each` is given `json_each` in its place, which is slower.
-- Binds: ?1 JSON [[version, stream, category, hex id, type, occurred at or null, metadata, payload], ...], where metadata
--   and payload are texts, so that their bytes survive; ?2 the position before the first; ?3 recorded at (microseconds).
-- Result: none. Order: positions follow the order of the array.
-- Locks: needs the write lock.
INSERT INTO es_events
    (position, version, stream, category, event_id, type, occurred_at, metadata, payload, recorded_at)
SELECT
    ?2 + 1 + key, value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, ?3
FROM jsonb_each(?1);
