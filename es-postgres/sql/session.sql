-- How a new connection is set up.
-- Binds: none. Columns: the search path; whether the connection is encrypted. Locks: none.
SELECT current_setting('search_path'),
       coalesce((SELECT s.ssl FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid()), false)
