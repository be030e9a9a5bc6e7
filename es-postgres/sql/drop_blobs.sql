-- Throws away what was put before a time.
-- Binds: $1 the time. Result: a row changed for each. Locks: the blobs' rows.
DELETE FROM {schema}.blobs WHERE put_at < $1
