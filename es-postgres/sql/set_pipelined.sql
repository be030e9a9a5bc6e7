-- Tells every process that appends may be seen before they are flushed. Flushed itself, whatever the defaults are.
-- Binds: none. Columns: one of no interest. Locks: the row of log_floor.
UPDATE {schema}.log_floor f
SET is_pipelined = true
WHERE NOT f.is_pipelined
RETURNING CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END
