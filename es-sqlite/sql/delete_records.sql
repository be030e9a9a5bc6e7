-- Removes records.
-- Binds: ?1 keys: JSON [key, ...]. Result: none. Order: none.
-- Locks: needs the write lock.
DELETE FROM es_records WHERE key IN (SELECT value FROM json_each(?1));
