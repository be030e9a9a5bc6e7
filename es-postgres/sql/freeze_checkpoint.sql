-- Freezes a checkpoint, which is made if it is missing, or lets it move again.
-- Binds: $1 consumer in its generation, $2 whether it is frozen. Columns: its position. Locks: its row.
INSERT INTO {schema}.checkpoints (consumer, position, updated_at, is_frozen)
VALUES ($1, 0, clock_timestamp(), $2)
ON CONFLICT (consumer) DO UPDATE
SET is_frozen = excluded.is_frozen
RETURNING position
