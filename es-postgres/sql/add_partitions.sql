-- Adds checkpoints of partitions, with the ids of the events on which they rest.
-- Binds: $1 consumers, $2 positions, $3 what is ahead of them or null, $4 layouts, $5 the last positions of what is ahead; of the same
-- length. Locks: the new rows.
INSERT INTO {schema}.checkpoints (consumer, position, updated_at, ahead, layout, event_id, ahead_event_id)
SELECT p.consumer, p.position, clock_timestamp(), p.ahead, p.layout, {schema}.event_at(p.position),
       {schema}.event_at(p.ahead_end)
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[])
    AS p (consumer, position, ahead, layout, ahead_end)
