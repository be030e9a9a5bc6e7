-- What waits in the outbox.
-- Binds: $1 how many are counted. Columns: waiting, oldest, delayed, bytes. Locks: none.
SELECT s.waiting, s.oldest, s.delayed, s.bytes FROM {schema}.outbox_stats($1) s
