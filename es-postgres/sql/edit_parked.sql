-- Gives a parked event another payload.
-- Binds: $1 consumer, $2 key, $3 position, $4 payload. Locks: the event's row.
UPDATE {schema}.parked_events
SET edited = $4::json
WHERE consumer = $1 AND key = $2 AND position = $3
