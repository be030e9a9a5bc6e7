-- Documents after a key. `es_view_name` stands for the view's table.
-- Binds: ?1 key, exclusive; '' starts at the first; ?2 most documents.
-- Result: rows of key, document. Order: by key, bytewise. Locks: none.
SELECT key, document FROM es_view_name WHERE key > ?1 ORDER BY key LIMIT (SELECT ?2);
