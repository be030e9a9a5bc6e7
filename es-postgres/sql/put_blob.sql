-- Keeps bytes under a name; the same bytes again are as if they had been put now.
-- Binds: $1 name, $2 bytes. Result: one row changed, or none if other bytes are kept. Locks: the blob's row.
INSERT INTO {schema}.blobs AS b (name, put_at, bytes)
VALUES ($1, clock_timestamp(), $2)
ON CONFLICT (name) DO UPDATE SET put_at = excluded.put_at
WHERE b.bytes = excluded.bytes
