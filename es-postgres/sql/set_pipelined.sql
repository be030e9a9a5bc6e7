-- Tells every process that appends may be seen before they are flushed. Flushed itself, whatever the defaults are.
-- Binds: none. Columns: none of interest. Locks: the row of log_floor, the first time.
SELECT {schema}.use_pipelined(),
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
