-- Notes who builds a generation; whoever goes on with a lease of their own has built it since the same time.
-- Binds: ?1 consumer; ?2 generation; ?3 builder; ?4 now; ?5 until when (microseconds). Result: none.
-- Locks: takes the write lock.
UPDATE es_generations
SET
    building_since = iif(builder IS ?3 AND building_until > ?4, min(building_since, ?4), ?4),
    builder = ?3,
    building_renewed = ?4,
    building_until = ?5
WHERE consumer = ?1 AND generation = ?2;
