-- Makes sure that the transaction is flushed by its commit, whatever the defaults of the database are.
-- Columns: of no interest. Locks: none.
SELECT set_config('synchronous_commit', 'on', true)
WHERE current_setting('synchronous_commit') = 'off'
