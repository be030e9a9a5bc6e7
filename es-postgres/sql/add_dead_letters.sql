-- Puts messages aside; those that are there already get the new failure, and keep their messages and requested retries.
-- Binds, an element for each: $1 consumers, $2 identities, $3 ids, $4 types or null, $5 topics, $6 keys or null, $7 reasons, $8 errors,
-- $9 attempts, $10 headers, $11 bodies. No two may be of the same consumer and identity.
-- Result: a row changed for each consumer that has new ones. Order: ids of new ones in the order given.
-- Locks: the rows of the dead letters, and of the totals of their consumers.
WITH added AS (
    INSERT INTO {schema}.dead_letters AS d
        (consumer, identity, message_id, message_type, topic, key, reason, error, attempts, since, is_retry_requested, headers, body)
    SELECT g.consumer, g.identity, g.message_id, g.message_type, g.topic, g.key, g.reason, g.error, g.attempts, clock_timestamp(),
           false, g.headers::json, g.body
    FROM unnest(
             $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[],
             $11::bytea[]
         )
         WITH ORDINALITY
         AS g (consumer, identity, message_id, message_type, topic, key, reason, error, attempts, headers, body, place)
    ORDER BY g.place
    ON CONFLICT (consumer, identity) DO UPDATE
    SET reason = excluded.reason, error = excluded.error, attempts = greatest(d.attempts, excluded.attempts)
    -- A row that was there has been locked, which leaves a trace.
    RETURNING d.consumer, d.xmax = 0 AS is_new
)
INSERT INTO {schema}.dead_letter_totals AS t (consumer, ever)
SELECT a.consumer, count(*)
FROM added a
WHERE a.is_new
GROUP BY a.consumer
ORDER BY a.consumer
ON CONFLICT (consumer) DO UPDATE SET ever = t.ever + excluded.ever
