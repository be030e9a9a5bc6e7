-- Keeps one of the writes that share a transaction.
-- Binds: none. Result: none. Locks: none of its own.
RELEASE es_member;
