-- Appends events to streams; see migrations/0002_append.sql for the arguments, the rows and the locks.
-- Binds: the function's arguments, in order. Columns: status, stream, first_version, last_version, first_position,
-- recorded_at, detail. Order: the function's.
SELECT a.status, a.stream, a.first_version, a.last_version, a.first_position, a.recorded_at, a.detail
FROM {schema}.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) AS a
