-- The documents with some keys. `es_view_name` stands for the view's table.
-- Binds: ?1 keys: JSON [key, ...].
-- Result: one row. keys: JSON [[key, bytes of the document], ...]; documents: the texts of all of them, one after the
--   other, NULL if there are none.
-- Order: the same in both. Locks: none.
SELECT json_group_array(json_array(d.key, octet_length(d.document))) AS keys, group_concat(d.document, '') AS documents
FROM json_each(?1) wanted
CROSS JOIN es_view_name d ON d.key = wanted.value;
