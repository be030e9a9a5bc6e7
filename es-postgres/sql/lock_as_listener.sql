-- Shows to every append that somebody listens: see migrations/0002_append.sql.
-- Binds: none. Columns: none of interest. Locks: the listeners' one (advisory, this schema's), shared, to the end of the session.
SELECT pg_advisory_lock_shared(1702064994, '{schema}'::regnamespace::oid::integer)::text
