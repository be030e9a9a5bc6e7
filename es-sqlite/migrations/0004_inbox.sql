-- Which messages have been handled.

-- The partitions of the inbox, in which ids are remembered: one is open and takes new ones, others are closed and grow old, and
-- the rest is empty.
CREATE TABLE es_inbox_ring (
    partition INTEGER PRIMARY KEY CHECK (partition BETWEEN 0 AND 3),
    -- NULL: it is empty.
    opened_at INTEGER,
    -- NULL: it is open, or empty.
    closed_at INTEGER CHECK (closed_at IS NULL OR opened_at IS NOT NULL),
    -- How many ids it holds, and about how many bytes.
    ids       INTEGER NOT NULL DEFAULT 0,
    bytes     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX es_inbox_open ON es_inbox_ring (opened_at IS NOT NULL) WHERE opened_at IS NOT NULL AND closed_at IS NULL;

INSERT INTO es_inbox_ring (partition, opened_at)
VALUES (0, CAST(unixepoch('subsec') * 1000000 AS INTEGER)), (1, NULL), (2, NULL), (3, NULL);

-- Ids are mostly in the order of time (UUIDs of version 7), so that each consumer fills its part from the right. The
-- content is a digest of it.
CREATE TABLE es_inbox_0 (consumer TEXT NOT NULL, id TEXT NOT NULL, content INTEGER NOT NULL, PRIMARY KEY (consumer, id)) STRICT, WITHOUT ROWID;
CREATE TABLE es_inbox_1 (consumer TEXT NOT NULL, id TEXT NOT NULL, content INTEGER NOT NULL, PRIMARY KEY (consumer, id)) STRICT, WITHOUT ROWID;
CREATE TABLE es_inbox_2 (consumer TEXT NOT NULL, id TEXT NOT NULL, content INTEGER NOT NULL, PRIMARY KEY (consumer, id)) STRICT, WITHOUT ROWID;
CREATE TABLE es_inbox_3 (consumer TEXT NOT NULL, id TEXT NOT NULL, content INTEGER NOT NULL, PRIMARY KEY (consumer, id)) STRICT, WITHOUT ROWID;
