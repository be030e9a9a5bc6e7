-- Takes a dead letter away.
-- Binds: $1 its id. Result: one row changed if it was there. Locks: the letter's row; whoever takes it away at the same time is waited for.
DELETE FROM {schema}.dead_letters WHERE id = $1
