-- Appends events to streams; see migrations/0002_append.sql for the arguments, the columns and the locks.
-- Binds: the function's arguments, in order. Columns: problem, detail, head, recorded_at, versions, refusals,
-- is_heard, has_waited, head_id; one row.
SELECT a.problem, a.detail, a.head, a.recorded_at, a.versions, a.refusals, a.is_heard, a.has_waited, a.head_id
FROM {schema}.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) AS a
