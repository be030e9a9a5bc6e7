-- Gives a dead letter another message, keeps the one that it had, and asks for it to be tried again.
-- Binds: $1 id, $2 headers, $3 body, $4 by whom, $5 reason. Columns: consumer. Result: a row if it is there.
-- Locks: the dead letter's row.
WITH before AS (
    SELECT d.id, d.headers, d.body
    FROM {schema}.dead_letters d
    WHERE d.id = $1
    FOR UPDATE
), kept AS (
    INSERT INTO {schema}.dead_letter_edits (dead_letter_id, at, by, reason, headers, body)
    SELECT b.id, clock_timestamp(), $4, $5, b.headers, b.body
    FROM before b
)
UPDATE {schema}.dead_letters AS d
SET headers = $2::json, body = $3, is_retry_requested = true
FROM before b
WHERE d.id = b.id
RETURNING d.consumer
