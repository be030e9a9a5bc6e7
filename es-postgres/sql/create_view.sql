-- The table of a view's documents.
-- Binds: none; {view} is replaced by the table's qualified name. Locks: the new table.
CREATE TABLE IF NOT EXISTS {view} (
    key      text COLLATE "C" NOT NULL PRIMARY KEY,
    -- `json`, not `jsonb`: what is compared and given back is what was written.
    document json             NOT NULL
)
