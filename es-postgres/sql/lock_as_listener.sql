-- Shows to every append that somebody listens: see migrations/0002_append.sql. (The classes of the advisory locks: 1702064993
-- orders appends, 94 prepares views, 95 migrates, 96 listens, 97 makes checkpoints.
-- Those of records have one number of 64 bits instead, with the seed 1702064998: see migrations/0010_records.sql.)
-- Binds: none. Columns: none of interest. Locks: the listeners' one (advisory, this schema's), shared, to the end of the session.
SELECT pg_advisory_lock_shared(1702064996, '{schema}'::regnamespace::oid::integer)::text
