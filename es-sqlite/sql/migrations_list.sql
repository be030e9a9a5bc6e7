-- The applied migrations.
-- Binds: none. Result: rows of version, name, checksum. Order: by version. Locks: none.
SELECT version, name, checksum FROM es_migrations ORDER BY version;
