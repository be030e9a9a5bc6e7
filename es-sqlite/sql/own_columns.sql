-- What to read of a table whose columns are not known: expressions over `t` that give its primary key and all of its
-- columns as JSON. A blob is its bytes in hex.
-- Binds: ?1 the table's name. Result: one row: key (NULL without a primary key), content.
-- Order: of the columns, as they were declared. Locks: none.
SELECT
    'json_array(' || group_concat(x.value, ', ' ORDER BY x.pk) FILTER (WHERE x.pk > 0) || ')' AS key,
    'json_object(' || group_concat(quote(x.name) || ', ' || x.value, ', ' ORDER BY x.cid) || ')' AS content
FROM (
    SELECT i.cid, i.name, i.pk, replace('iif(typeof(t.?) = ''blob'', hex(t.?), t.?)', '?', i.quoted) AS value
    FROM (SELECT cid, name, pk, '"' || replace(name, '"', '""') || '"' AS quoted FROM pragma_table_info(?1)) i
) x;
