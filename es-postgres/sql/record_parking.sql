-- Records what was done to parked events by hand.
-- Binds: $1 consumer, $2 key, $3 position or null for the whole key, $4 action, $5 by whom, $6 why or null, $7 the payload of
-- an edit or null. Locks: none.
INSERT INTO {schema}.parking_history (at, consumer, key, position, action, by, reason, payload)
VALUES (clock_timestamp(), $1, $2, $3, $4, $5, $6, $7::json)
