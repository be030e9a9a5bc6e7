-- Keeps the work of an inline projection.
-- Binds: none. Result: none. Locks: none of its own.
RELEASE es_inline;
