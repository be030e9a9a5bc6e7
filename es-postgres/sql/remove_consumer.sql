-- Removes the checkpoints, the generations and the suspensions of a consumer, and revokes its leases (their fences
-- stay, so that nobody writes under an older one); its tables are dropped beside it.
-- Binds: $1 consumer, without a generation. Columns: how many rows there were, and where the checkpoint of the live
-- generation was (null if it had none). Locks: all these rows.
WITH live AS (
    SELECT coalesce(max(g.generation), 1) AS generation
    FROM {schema}.generations g
    WHERE g.consumer = $1 AND g.state = 'live'
), checkpoints AS (
    DELETE FROM {schema}.checkpoints c
    WHERE split_part(split_part(c.consumer, '#', 1), '@', 1) = $1
    RETURNING c.consumer, c.position
), generations AS (
    DELETE FROM {schema}.generations g
    WHERE g.consumer = $1
    RETURNING g.consumer
), suspensions AS (
    DELETE FROM {schema}.suspensions s
    WHERE s.consumer = $1
    RETURNING s.consumer
), leases AS (
    UPDATE {schema}.leases l
    SET fence = l.fence + 1, owner = NULL, since = NULL, until = NULL
    WHERE split_part(split_part(l.consumer, '#', 1), '@', 1) = $1
)
SELECT (SELECT count(*) FROM checkpoints) + (SELECT count(*) FROM generations) + (SELECT count(*) FROM suspensions),
       (SELECT min(c.position)
        FROM checkpoints c, live l
        WHERE split_part(c.consumer, '#', 1) = $1 || CASE WHEN l.generation = 1 THEN '' ELSE '@' || l.generation::text END)
