-- Takes a dead letter away whose message is still the one that was read.
-- Binds: $1 its id, $2 headers, $3 body. Result: one row changed if it was there. Locks: the dead letter's row; whoever
-- takes it away at the same time is waited for.
DELETE FROM {schema}.dead_letters WHERE id = $1 AND headers::text = $2 AND body = $3
