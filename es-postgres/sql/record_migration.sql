-- Records a migration that was applied.
-- Binds: $1 version, $2 name, $3 checksum. Locks: the new row.
INSERT INTO {schema}.es_migrations (version, name, checksum)
VALUES ($1, $2, $3)
