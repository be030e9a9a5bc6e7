-- Notes an operation.
-- Binds: ?1 now (microseconds); ?2 kind; ?3 consumer; ?4 generation; ?5 from; ?6 to (or NULL); ?7 by whom; ?8 reason or NULL.
-- Result: none.
-- Locks: takes the write lock.
INSERT INTO es_operations (at, kind, consumer, generation, from_position, to_position, requested_by, reason)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8);
