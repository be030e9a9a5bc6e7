-- Everything that the migrations made in a schema, as text: equal on every version of PostgreSQL.
-- Binds: $1 schema. Columns: line. Order: kind, name, place. Locks: none.
WITH own AS (
    SELECT n.oid FROM pg_namespace n WHERE n.nspname = $1
), lines (kind, name, place, line) AS (
    SELECT 1, c.relname::text, 0,
           'TABLE ' || c.relname || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')
    FROM pg_class c
    WHERE c.relnamespace = (SELECT oid FROM own) AND c.relkind IN ('r', 'p')
  UNION ALL
    SELECT 1, c.relname::text, a.attnum::integer,
           '    ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
           || CASE WHEN o.collname = 'C' THEN ' COLLATE "C"' ELSE '' END
           || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
           || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_collation o ON o.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = (SELECT oid FROM own) AND c.relkind IN ('r', 'p')
  UNION ALL
    SELECT 1, c.relname::text, 1000 + row_number() OVER (PARTITION BY c.relname ORDER BY k.conname)::integer,
           '    CONSTRAINT ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
    FROM pg_constraint k
    JOIN pg_class c ON c.oid = k.conrelid
    -- From PostgreSQL 18 on, NOT NULL is a constraint too.
    WHERE c.relnamespace = (SELECT oid FROM own) AND k.contype <> 'n'
  UNION ALL
    SELECT 2, c.relname::text, 0, pg_get_indexdef(c.oid)
    FROM pg_class c
    WHERE c.relnamespace = (SELECT oid FROM own) AND c.relkind = 'i'
  UNION ALL
    SELECT 2, c.relname::text, 1, pg_get_triggerdef(t.oid)
    FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = (SELECT oid FROM own) AND NOT t.tgisinternal AND t.tgparentid = 0
  UNION ALL
    SELECT 3, p.proname::text, 0, rtrim(pg_get_functiondef(p.oid), E'\n')
    FROM pg_proc p
    WHERE p.pronamespace = (SELECT oid FROM own)
)
SELECT replace(replace(line, '"' || $1 || '"', 'es'), $1, 'es')
FROM lines
ORDER BY kind, name COLLATE "C", place, line COLLATE "C"
