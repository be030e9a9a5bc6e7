-- Messages that are to be published, written in the transactions of others. There is one writer, so their ids follow the order of
-- commits. Messages are written to one table of two; the other is emptied as a whole when all it holds is confirmed.

CREATE TABLE es_outbox_0 (
    id           INTEGER NOT NULL PRIMARY KEY,
    enqueued_at  INTEGER NOT NULL,
    available_at INTEGER,
    topic        TEXT    NOT NULL,
    key          TEXT,
    headers      TEXT    NOT NULL,
    body         BLOB    NOT NULL
) STRICT;

CREATE TABLE es_outbox_1 (
    id           INTEGER NOT NULL PRIMARY KEY,
    enqueued_at  INTEGER NOT NULL,
    available_at INTEGER,
    topic        TEXT    NOT NULL,
    key          TEXT,
    headers      TEXT    NOT NULL,
    body         BLOB    NOT NULL
) STRICT;

CREATE TABLE es_outbox_delayed (
    id           INTEGER NOT NULL PRIMARY KEY,
    available_at INTEGER NOT NULL,
    topic        TEXT    NOT NULL,
    key          TEXT,
    headers      TEXT    NOT NULL,
    body         BLOB    NOT NULL
) STRICT;

CREATE INDEX es_outbox_delayed_available ON es_outbox_delayed (available_at);

-- One row.
CREATE TABLE es_outbox_state (
    -- The table that messages are written to.
    current       INTEGER NOT NULL,
    last_id       INTEGER NOT NULL,
    confirmed_id  INTEGER NOT NULL,
    -- Of messages in each table.
    bytes_0       INTEGER NOT NULL,
    bytes_1       INTEGER NOT NULL,
    bytes_delayed INTEGER NOT NULL
) STRICT;

INSERT INTO es_outbox_state (current, last_id, confirmed_id, bytes_0, bytes_1, bytes_delayed) VALUES (0, 0, 0, 0, 0, 0);
