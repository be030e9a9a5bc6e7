-- Notes a migration as applied.
-- Binds: ?1 version; ?2 name; ?3 checksum; ?4 now (microseconds). Result: none.
-- Locks: needs the write lock.
INSERT INTO es_migrations (version, name, checksum, applied_at) VALUES (?1, ?2, ?3, ?4);
