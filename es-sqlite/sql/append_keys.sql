-- Remembers the outcomes of appends with an idempotency key.
-- Binds: ?3 recorded at (microseconds); ?4 JSON [[key, hex digest of the request, outcome as a text of JSON], ...].
-- Result: none. Order: none.
-- Locks: needs the write lock.
INSERT INTO es_appends (key, request, streams, recorded_at)
SELECT value ->> 0, unhex(value ->> 1), value ->> 2, ?3 FROM json_each(?4);
