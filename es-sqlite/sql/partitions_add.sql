-- Adds checkpoints of partitions.
-- Binds: ?1 JSON [[consumer, position, what is ahead of it or null, layout], ...]; ?2 now (microseconds). Result: none.
-- Locks: takes the write lock.
INSERT INTO es_checkpoints (consumer, position, updated_at, ahead, layout)
SELECT p.value ->> 0, p.value ->> 1, ?2, p.value ->> 2, p.value ->> 3
FROM json_each(?1) p;
