-- Writes records, whether or not they exist.
-- Binds: ?1 JSON [[key, value as a text], ...]; ?2 the revision; ?3 now (microseconds). Result: none. Order: none.
-- Locks: needs the write lock.
INSERT INTO es_records (key, value, revision, changed_at)
SELECT value ->> 0, value ->> 1, ?2, ?3 FROM json_each(?1) WHERE 1
ON CONFLICT (key) DO UPDATE
SET value = excluded.value, revision = excluded.revision, changed_at = excluded.changed_at;
