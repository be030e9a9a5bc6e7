-- Makes migrations of one schema wait for each other, for at most a minute.
-- Binds: $1 schema, unquoted. Columns: of no interest. Locks: an advisory lock to the end of the transaction.
SELECT set_config('lock_timeout', '60s', true), pg_advisory_xact_lock(1702064995, hashtext($1))
