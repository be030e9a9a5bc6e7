-- Counts ids that were noted in a partition of the inbox.
-- Binds: ?1 partition; ?2 ids; ?3 bytes. Result: one row changed. Locks: takes the write lock.
UPDATE es_inbox_ring SET ids = ids + ?2, bytes = bytes + ?3 WHERE partition = ?1;
