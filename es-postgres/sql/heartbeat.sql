-- Extends all leases of a member, and says which consumers it would run.
-- Binds: $1 member, $2 consumers, $3 milliseconds. Columns: the consumers whose leases it has. Order: consumer.
-- Locks: its rows; rows of members that are long gone, or from the future, are removed.
WITH t AS (
    SELECT clock_timestamp() AS now
), gone AS (
    DELETE FROM {schema}.members m
    WHERE (m.until < clock_timestamp() - interval '1 hour' OR m.renewed > clock_timestamp()) AND m.member <> $1
), left_out AS (
    DELETE FROM {schema}.members m
    WHERE m.member = $1 AND m.consumer <> ALL ($2::text[])
), joined AS (
    INSERT INTO {schema}.members AS m (consumer, member, renewed, until)
    SELECT c.consumer, $1, t.now, t.now + $3::bigint * interval '1 millisecond'
    FROM unnest($2::text[]) AS c (consumer), t
    ON CONFLICT (consumer, member) DO UPDATE
    SET renewed = excluded.renewed, until = excluded.until
), extended AS (
    UPDATE {schema}.leases l
    SET since = least(l.since, t.now), renewed = t.now, until = t.now + $3::bigint * interval '1 millisecond'
    FROM t
    WHERE l.owner = $1
    RETURNING l.consumer
)
SELECT e.consumer
FROM extended e
ORDER BY e.consumer
