-- Keeps bytes under a name; the same bytes again are as if they had been put now.
-- Binds: ?1 name; ?2 bytes; ?3 now (microseconds). Result: one row changed, or none if other bytes are kept.
-- Locks: takes the write lock.
INSERT INTO es_blobs (name, put_at, bytes)
VALUES (?1, ?3, ?2)
ON CONFLICT (name) DO UPDATE SET put_at = excluded.put_at
WHERE bytes = excluded.bytes;
