-- What tells the rows of a table apart: its primary key.
-- Binds: none; {table} is replaced by the table's name. Columns: an expression over `t` that gives the key's columns as
-- JSON, or null without a primary key. Locks: none.
SELECT 'pg_catalog.json_build_array(' || string_agg(format('t.%I', a.attname), ', ' ORDER BY k.place) || ')::text'
FROM pg_catalog.pg_index i
CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = '{table}'::regclass AND i.indisprimary
