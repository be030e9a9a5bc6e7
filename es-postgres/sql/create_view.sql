-- The table of a view's documents.
-- Binds: none; {view} is replaced by the table's qualified name. Locks: the new table.
CREATE TABLE IF NOT EXISTS {view} (
    key      text COLLATE "C" NOT NULL PRIMARY KEY,
    -- `json`, not `jsonb`: what is compared and given back is what was written.
    document json             NOT NULL
)
-- Documents are written again and again: room on their page keeps the updates out of the index, and lets each page be
-- tidied as it is written. Without it, 100 pages of 800 documents left a table of 3.5 MB instead of 0.4.
WITH (fillfactor = 70)
