-- Makes the table of a view. `es_view_name` stands for its name.
-- Binds: none. Result: none.
-- Locks: takes the write lock.
CREATE TABLE IF NOT EXISTS es_view_name (key TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT, WITHOUT ROWID;
