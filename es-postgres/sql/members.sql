-- Who would run what at the moment.
-- Binds: none. Columns: consumer, member. Order: consumer, member. Locks: none.
SELECT m.consumer, m.member
FROM {schema}.members m
WHERE m.until > clock_timestamp() AND m.renewed <= clock_timestamp()
ORDER BY m.consumer, m.member
