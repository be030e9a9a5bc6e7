-- Waits until everything that was committed before is flushed, here and on synchronous standbys, whatever
-- `synchronous_commit` is: the commit of this statement, which writes something, is flushed after it.
-- Binds: none. Columns: position of the last event that is flushed then; two of no interest. Locks: none.
SELECT greatest((SELECT f.position FROM {schema}.log_floor f), (SELECT max(e.position) FROM {schema}.events e)),
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END,
       pg_logical_emit_message(true, 'es_flush', '')::text
