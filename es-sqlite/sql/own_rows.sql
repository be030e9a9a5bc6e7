-- All rows of one generation of a table. `own_name` stands for its name, `key_of_t` and `content_of_t` for expressions over
-- `t`.
-- Binds: none. Result: rows of key, content (the row as JSON). Order: by key, then by content, bytewise. Locks: none.
SELECT key_of_t AS key, content_of_t AS content FROM "own_name" t ORDER BY 1, 2;
