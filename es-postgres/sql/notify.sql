-- Tells listeners of the head. A transaction of its own that does not wait for a flush: the lock that NOTIFY takes of
-- the whole server is held for a moment only.
-- Binds: $1 channel, $2 head as text. Columns: of no interest. Locks: NOTIFY's.
SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)
