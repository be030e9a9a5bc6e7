-- Parks keys, unless they are parked already. Their events are added after it.
-- Binds: ?1 consumer; ?2 JSON [[key, error, attempts], ...]; ?3 now (microseconds). Result: none.
-- Locks: takes the write lock.
INSERT INTO es_parked_keys (consumer, key, events, parked_at, first_error, last_error, attempts, tried_at)
SELECT ?1, value ->> 0, 0, ?3, value ->> 1, value ->> 1, value ->> 2, ?3 FROM json_each(?2) WHERE 1
ON CONFLICT (consumer, key) DO NOTHING;
