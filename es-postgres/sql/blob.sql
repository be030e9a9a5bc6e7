-- The bytes that are kept under a name.
-- Binds: $1 name. Columns: bytes. Locks: none.
SELECT b.bytes FROM {schema}.blobs b WHERE b.name = $1
