-- Locks a parked key, so that its events neither change nor take effect meanwhile.
-- Binds: $1 consumer, $2 key. Columns: its events. Locks: the key's row.
SELECT k.events
FROM {schema}.parked_keys k
WHERE k.consumer = $1 AND k.key = $2
FOR UPDATE
