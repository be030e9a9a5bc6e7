-- Marks where one of the writes begins that share a transaction, so that it can be undone by itself.
-- Binds: none. Result: none. Locks: none of its own.
SAVEPOINT es_member;
