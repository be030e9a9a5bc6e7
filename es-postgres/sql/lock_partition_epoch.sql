-- Keeps other transactions from making or removing checkpoints of a generation, to the end of the transaction.
-- Binds: $1 consumer in its generation. Locks: the partition epoch (advisory).
SELECT pg_advisory_xact_lock(1702064997, hashtext('{schema}' || $1))
