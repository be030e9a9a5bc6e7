-- What operators do to consumers, and the log of it.
--
-- {schema} is replaced by the store's quoted schema name.

-- Which consumers are suspended, by whom and why; `consumer` is a name without a generation.
CREATE TABLE {schema}.suspensions (
    consumer     text COLLATE "C"         NOT NULL,
    kind         text COLLATE "C"         NOT NULL,
    suspended_by text                     NOT NULL,
    since        timestamp with time zone NOT NULL,
    reason       text,
    CONSTRAINT suspensions_pkey PRIMARY KEY (consumer, kind),
    CONSTRAINT suspensions_kind_check CHECK (kind IN ('paused', 'disabled'))
);

CREATE TABLE {schema}.operations (
    id            bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT operations_pkey PRIMARY KEY,
    at            timestamp with time zone NOT NULL,
    kind          text                     NOT NULL,
    consumer      text COLLATE "C"         NOT NULL,
    generation    bigint                   NOT NULL,
    from_position bigint,
    to_position   bigint,
    requested_by  text                     NOT NULL,
    reason        text
);

CREATE INDEX operations_consumer_idx ON {schema}.operations (consumer, id);
