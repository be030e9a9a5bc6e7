-- Payloads that are too large for a broker.

CREATE TABLE es_blobs (
    name   TEXT    PRIMARY KEY,
    put_at INTEGER NOT NULL,
    bytes  BLOB    NOT NULL
) STRICT;

CREATE INDEX es_blobs_put_at ON es_blobs (put_at);
