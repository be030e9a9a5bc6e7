-- Marks where the work of an inline projection begins, so that it can be undone by itself.
-- Binds: none. Result: none. Locks: none of its own.
SAVEPOINT es_inline;
