-- Moves a view's checkpoint by compare-and-set and changes its documents, both or neither.
-- Binds: $1 view, $2 from, $3 to, $4 fence or null, $5 partition epoch, $6 keys and $7 documents to keep, in pairs;
-- {view} is replaced by the table's qualified name; $8 milliseconds as text or null, after which the server ends the
-- transaction if it hears nothing of its owner; $9 a position and $10 the id of the event that was seen there, or null.
-- Columns: null, or where the checkpoint is instead, -1 if it is frozen or of another
-- partition epoch, -2 if another process has the lease, -3 if the log went back.
-- Locks: the view's checkpoint first, then the documents in the order given.
WITH moved AS MATERIALIZED (
    SELECT {schema}.move_checkpoint($1, $2, $3, $4, $5, $9, $10) AS actual
), saved AS (
    INSERT INTO {view} (key, document)
    SELECT c.key, c.document::json
    FROM unnest($6::text[], $7::text[]) AS c (key, document)
    WHERE (SELECT m.actual FROM moved m) IS NULL
    ON CONFLICT (key) DO UPDATE
    SET document = excluded.document
)
SELECT
    m.actual,
    CASE WHEN $8::text IS NOT NULL THEN set_config('idle_in_transaction_session_timeout', $8, true) END
FROM moved m
