-- Limits how long the rest of the transaction waits for a lock.
-- Binds: $1 the time as text, with its unit. Columns: of no interest. Locks: none.
SELECT set_config('lock_timeout', $1, true)
