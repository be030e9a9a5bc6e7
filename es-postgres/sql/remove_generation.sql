-- Removes a generation; its checkpoints are removed, and its tables dropped, beside it.
-- Binds: $1 consumer, $2 generation. Locks: its row.
DELETE FROM {schema}.generations g
WHERE g.consumer = $1 AND g.generation = $2
