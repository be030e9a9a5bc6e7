-- Commits conditions and changes of records, all or nothing; see migrations/0010_records.sql.
-- Binds: $1 keys in bytewise order, $2 what is required of each or null, $3 what becomes of it or null, $4 its value or
-- null; $5 the revision; $6 milliseconds of waiting for a lock. Columns: the key that is not as required, or null; now.
-- Locks: keys that may have no record (advisory), then the records in the order of their keys.
SELECT c.failed, c.now
FROM {schema}.commit_records($1, $2, $3, $4, $5, $6) c
