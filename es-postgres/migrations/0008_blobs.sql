-- Payloads that are too large for a broker.
--
-- {schema} is replaced by the store's quoted schema name.

CREATE TABLE {schema}.blobs (
    name   text COLLATE "C" CONSTRAINT blobs_pkey PRIMARY KEY,
    put_at timestamp with time zone NOT NULL,
    bytes  bytea                    NOT NULL
);

CREATE INDEX blobs_put_at_idx ON {schema}.blobs (put_at);
