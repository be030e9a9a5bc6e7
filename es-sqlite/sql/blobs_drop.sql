-- Throws away what was put before a time.
-- Binds: ?1 the time (microseconds). Result: a row changed for each. Locks: takes the write lock.
DELETE FROM es_blobs WHERE put_at < ?1;
