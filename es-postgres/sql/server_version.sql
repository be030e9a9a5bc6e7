-- The server's version as one number: 150018 is 15.18.
-- Binds: none. Columns: the number. Locks: none.
SELECT current_setting('server_version_num')::integer
