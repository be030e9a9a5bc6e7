-- Moves a checkpoint to 0, wherever it is, unless it is frozen: no row is changed then.
-- Binds: $1 consumer. Locks: the consumer's row.
INSERT INTO {schema}.checkpoints AS c (consumer, position, updated_at)
VALUES ($1, 0, clock_timestamp())
ON CONFLICT (consumer) DO UPDATE
SET position = 0, updated_at = excluded.updated_at
WHERE NOT c.is_frozen
