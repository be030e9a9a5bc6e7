-- Gives all leases of a member back, and forgets what it would run.
-- Binds: $1 member. Locks: its rows.
WITH gone AS (
    DELETE FROM {schema}.members m
    WHERE m.member = $1
)
UPDATE {schema}.leases l
SET fence = l.fence + 1, owner = NULL, since = NULL, until = NULL
WHERE l.owner = $1
