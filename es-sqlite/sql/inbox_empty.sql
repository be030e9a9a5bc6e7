-- Forgets all ids of a partition of the inbox, whose number takes the place of {partition}. Without a condition, so that SQLite frees
-- whole pages and looks at no row.
-- Binds: none. Result: none. Locks: takes the write lock.
DELETE FROM es_inbox_{partition};
