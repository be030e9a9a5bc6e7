-- Gives a consumer a checkpoint unless it has one.
-- Binds: $1 consumer, $2 position. Locks: the consumer's row, if it is new.
INSERT INTO {schema}.checkpoints (consumer, position, updated_at)
VALUES ($1, $2, clock_timestamp())
ON CONFLICT (consumer) DO NOTHING
