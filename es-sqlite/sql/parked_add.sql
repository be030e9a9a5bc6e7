-- Adds events to parked keys; those that are there already stay as they are.
-- Binds: ?1 consumer; ?2 JSON [[key, position], ...]; ?3 now (microseconds). Result: none.
-- Locks: takes the write lock.
INSERT INTO es_parked_events (consumer, key, position, parked_at, event_id)
SELECT ?1, value ->> 0, value ->> 1, ?3, (SELECT e.event_id FROM es_events e WHERE e.position = value ->> 1)
FROM json_each(?2)
WHERE 1
ON CONFLICT (consumer, key, position) DO NOTHING;
