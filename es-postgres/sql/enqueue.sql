-- Writes a message of the outbox; see migrations/0009_outbox.sql.
-- Binds: $1 topic, $2 key or null, $3 headers as text of JSON, $4 body, $5 not before, or null. Columns: of no interest. Locks: none
-- that another writer waits for.
SELECT {schema}.enqueue($1, $2, $3::text::json, $4, $5)
