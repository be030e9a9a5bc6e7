-- Makes the creations of tables of views wait for each other: CREATE TABLE IF NOT EXISTS alone fails in a race.
-- Binds: none. Locks: an advisory lock to the end of the transaction.
SELECT pg_advisory_xact_lock(1702064994, '{schema}'::regnamespace::oid::integer)
