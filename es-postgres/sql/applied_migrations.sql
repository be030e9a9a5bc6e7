-- The migrations that were applied.
-- Binds: none. Columns: version, name, checksum. Order: version. Locks: none.
SELECT m.version, m.name, m.checksum
FROM {schema}.es_migrations m
ORDER BY m.version
