-- Ends a transaction; nothing in it is stored.
-- Binds: none. Result: none. Locks: releases the write lock.
ROLLBACK;
