-- Forgets what a member would run, and members that are gone.
-- Binds: ?1 member; ?2 now (microseconds). Result: none.
-- Locks: takes the write lock.
DELETE FROM es_members WHERE member = ?1 OR until <= ?2 OR renewed > ?2;
