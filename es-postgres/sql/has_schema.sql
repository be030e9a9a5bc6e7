-- Whether the schema, and the table of its migrations, exist.
-- Binds: $1 schema, unquoted. Columns: whether the schema exists, whether the table exists. Locks: none.
SELECT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = $1),
       EXISTS (SELECT
               FROM pg_class c
               JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = 'es_migrations')
