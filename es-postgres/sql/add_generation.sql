-- Adds a generation, unless it is there or another one is in the same state.
-- Binds: $1 consumer, $2 generation, $3 state, $4 code version, $5 tables. Locks: the new row.
INSERT INTO {schema}.generations (consumer, generation, state, code_version, created_at, tables)
VALUES ($1, $2, $3, $4, clock_timestamp(), $5)
ON CONFLICT DO NOTHING
