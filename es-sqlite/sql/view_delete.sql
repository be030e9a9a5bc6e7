-- Deletes documents. `es_view_name` stands for the view's table.
-- Binds: ?2 keys: JSON [key, ...]. Result: none.
-- Locks: takes the write lock.
DELETE FROM es_view_name WHERE key IN (SELECT value FROM json_each(?2));
