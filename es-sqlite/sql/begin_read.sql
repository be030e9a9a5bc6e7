-- Begins a transaction; fails inside one, and so tells whether there is one.
-- Binds: none. Result: none. Locks: none.
BEGIN DEFERRED;
