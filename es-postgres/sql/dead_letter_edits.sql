-- What a dead letter was before it was edited.
-- Binds: $1 its id. Columns: headers, body. Order: oldest first. Locks: none.
SELECT e.headers, e.body
FROM {schema}.dead_letter_edits e
WHERE e.dead_letter_id = $1
ORDER BY e.id
