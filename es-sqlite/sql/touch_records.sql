-- Assigns a new revision to records and keeps their values.
-- Binds: ?1 keys: JSON [key, ...]; ?2 the revision; ?3 now (microseconds). Result: none. Order: none.
-- Locks: needs the write lock.
UPDATE es_records
SET revision = ?2, changed_at = ?3
WHERE key IN (SELECT value FROM json_each(?1));
