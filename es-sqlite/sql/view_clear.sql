-- Deletes all documents of a view. `es_view_name` stands for the view's table.
-- Binds: none. Result: none.
-- Locks: takes the write lock.
DELETE FROM es_view_name;
