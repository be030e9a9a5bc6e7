-- The calls of this store that wait for other backends: those of this role, program and host in this database.
-- Binds: $1 how many characters of a statement, $2 how many rows.
-- Columns: pid, query, and of each who keeps it waiting: pid, application_name, query, state, xact_start. Order: pid. Locks: none.
SELECT w.pid, left(w.query, $1), b.pid, coalesce(b.application_name, ''), left(coalesce(b.query, ''), $1),
       coalesce(b.state, 'of another role'), b.xact_start
FROM pg_catalog.pg_stat_activity me
JOIN pg_catalog.pg_stat_activity w
    ON w.datid = me.datid AND w.usesysid = me.usesysid AND w.application_name = me.application_name
   AND w.client_addr IS NOT DISTINCT FROM me.client_addr AND w.wait_event_type = 'Lock'
CROSS JOIN LATERAL (SELECT DISTINCT unnest(pg_catalog.pg_blocking_pids(w.pid)) AS pid) k
JOIN pg_catalog.pg_stat_activity b ON b.pid = k.pid
WHERE me.pid = pg_catalog.pg_backend_pid()
ORDER BY w.pid, b.pid
LIMIT $2
