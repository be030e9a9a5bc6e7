-- Locks the ranges of an update and reads them; see migrations/0010_records.sql.
-- Binds: $1 single keys, $2 prefixes ('' is everything), $3 the first text inside of each range, $4 the first text
-- beyond or null, $5 most records, $6 milliseconds of waiting for a lock. Columns: key, value, revision, now; the last
-- row has the time alone.
-- Locks: the ranges (advisory), then their records in the order of their keys.
SELECT r.key, r.value, r.revision, r.now
FROM {schema}.lock_records($1, $2, $3, $4, $5, $6) r
