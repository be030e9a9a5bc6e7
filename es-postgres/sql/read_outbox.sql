-- The next messages of the outbox that are not confirmed, in order; see migrations/0009_outbox.sql.
-- Binds: $1 messages, $2 bytes. Columns: tick, number, enqueued_at, available_at, topic, key, headers, body. Locks: an advisory one
-- of the relay's, to the end of the transaction.
SELECT r.tick_id, r.seq, r.enqueued_at, r.available_at, r.topic, r.key, r.headers, r.body
FROM {schema}.read_outbox($1, $2) r
