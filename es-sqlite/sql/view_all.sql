-- All documents of one generation of a view. `es_view_name` stands for its table.
-- Binds: none. Result: rows of key, content. Order: by key, bytewise. Locks: none.
SELECT key, document AS content FROM es_view_name ORDER BY key;
