-- Adds checkpoints of partitions.
-- Binds: $1 consumers, $2 positions, $3 what is ahead of them or null, $4 layouts; of the same length. Locks: the new rows.
INSERT INTO {schema}.checkpoints (consumer, position, updated_at, ahead, layout)
SELECT p.consumer, p.position, clock_timestamp(), p.ahead, p.layout
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) AS p (consumer, position, ahead, layout)
