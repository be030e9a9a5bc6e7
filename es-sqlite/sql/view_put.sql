-- Stores documents. `es_view_name` stands for the view's table.
-- Binds: ?1 JSON [[key, document as a text], ...]. Result: none. Order: none.
-- Locks: takes the write lock.
INSERT INTO es_view_name (key, document)
SELECT value ->> 0, value ->> 1 FROM jsonb_each(?1) WHERE 1
ON CONFLICT (key) DO UPDATE SET document = excluded.document;
