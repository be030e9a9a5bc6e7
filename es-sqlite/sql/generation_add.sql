-- Adds a generation.
-- Binds: ?1 consumer; ?2 generation; ?3 state; ?4 code version; ?5 now (microseconds); ?6 tables (JSON). Result: none.
-- Locks: takes the write lock.
INSERT INTO es_generations (consumer, generation, state, code_version, created_at, tables)
VALUES (?1, ?2, ?3, ?4, ?5, ?6);
