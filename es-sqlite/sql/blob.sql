-- The bytes that are kept under a name.
-- Binds: ?1 name. Result: a row of bytes if there are any. Locks: none.
SELECT bytes FROM es_blobs WHERE name = ?1;
