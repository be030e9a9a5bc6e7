-- All documents of a view, to pick some by what they hold. `es_view_name` stands for the view's table.
-- Binds: none. Result: rows of key, document. Order: any. Locks: none.
SELECT key, document FROM es_view_name;
