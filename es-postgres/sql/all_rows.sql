-- All rows of one generation of a projection's table.
-- Binds: none; {table} is replaced by the table's name, {key} by an expression over `t`. Columns: key, content (the row as
-- JSON). Order: key, bytewise. Locks: none.
SELECT r.key, r.content
FROM (
    SELECT {key} COLLATE "C" AS key, pg_catalog.row_to_json(t)::text COLLATE "C" AS content
    FROM {table} t
) AS r
ORDER BY r.key, r.content
