-- Says which consumers a member would run.
-- Binds: ?1 member; ?2 JSON: the consumers; ?3 now; ?4 until (microseconds). Result: none.
-- Locks: takes the write lock.
INSERT INTO es_members (consumer, member, renewed, until) SELECT c.value, ?1, ?3, ?4 FROM json_each(?2) AS c WHERE true
ON CONFLICT (consumer, member) DO UPDATE SET renewed = excluded.renewed, until = excluded.until;
