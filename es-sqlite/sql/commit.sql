-- Ends a transaction; everything in it is stored.
-- Binds: none. Result: none. Locks: releases the write lock.
COMMIT;
