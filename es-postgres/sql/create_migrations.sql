-- The table of the migrations that were applied. The name is the store's own: an application's migrations in the same
-- database never meet it.
-- Binds: none. Locks: the new table.
CREATE TABLE IF NOT EXISTS {schema}.es_migrations (
    version    integer                  NOT NULL CONSTRAINT es_migrations_pkey PRIMARY KEY,
    name       text                     NOT NULL,
    checksum   text                     NOT NULL,
    applied_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
)
