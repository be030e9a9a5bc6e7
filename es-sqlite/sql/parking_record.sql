-- Records what was done to parked events by hand: a line for each position.
-- Binds: ?1 consumer; ?2 key; ?3 positions: JSON [position or null for the whole key, ...]; ?4 action; ?5 by whom; ?6 why,
-- or NULL; ?7 the payload of an edit, or NULL; ?8 now (microseconds). Result: none.
-- Locks: takes the write lock.
INSERT INTO es_parking_history (at, consumer, key, position, action, by, reason, payload)
SELECT ?8, ?1, ?2, value, ?4, ?5, ?6, ?7 FROM json_each(?3) ORDER BY value;
