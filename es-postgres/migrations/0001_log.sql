-- The log: events in one total order, the keys of appends, and the place below which no position is free.
--
-- {schema} is replaced by the store's quoted schema name.
--
-- Nothing here is updated by an append: the order comes from an advisory lock, and the head is read from the
-- primary key's right end. The unique indexes are a second line of defence: the function `append` checks under
-- its lock whatever they say, so `events` can be partitioned by position later.

CREATE TABLE {schema}.events (
    position      bigint                     NOT NULL CONSTRAINT events_pkey PRIMARY KEY,
    version       bigint                     NOT NULL,
    recorded_at   timestamp with time zone   NOT NULL,
    occurred_at   timestamp with time zone,
    event_id      uuid                       NOT NULL,
    payload_bytes integer                    NOT NULL,
    category      text COLLATE "C"           NOT NULL,
    stream        text COLLATE "C"           NOT NULL,
    type          text COLLATE "C"           NOT NULL,
    -- `json`, not `jsonb`: the exact bytes are kept.
    metadata      json                       NOT NULL,
    payload       json                       NOT NULL,
    CONSTRAINT events_stream_version_key UNIQUE (stream, version),
    CONSTRAINT events_event_id_key UNIQUE (event_id),
    CONSTRAINT events_position_check CHECK (position > 0),
    CONSTRAINT events_version_check CHECK (version > 0)
)
-- Rows are never changed: vacuumed after so many new ones, whatever the size of the table, and frozen at once, so that no
-- later vacuum has to read and write all of it again.
WITH (
    autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_freeze_min_age = 0
);

-- What a projection of one category reads, in the order in which it reads it.
CREATE INDEX events_category_position_idx ON {schema}.events (category, position);

-- Every key under which something was appended, for ever.
CREATE TABLE {schema}.appends (
    key            text COLLATE "C" NOT NULL CONSTRAINT appends_pkey PRIMARY KEY,
    first_position bigint           NOT NULL,
    last_position  bigint           NOT NULL
)
WITH (
    autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_freeze_min_age = 0
);

-- One row: no position up to `position` and no time before `recorded_at` may be given to a new event, even if the
-- events themselves are no longer in `events`. Whoever removes the newest events raises it in the same transaction.
CREATE TABLE {schema}.log_floor (
    is_only      boolean                  NOT NULL DEFAULT true CONSTRAINT log_floor_pkey PRIMARY KEY,
    position     bigint                   NOT NULL,
    recorded_at  timestamp with time zone NOT NULL,
    -- Whether appends may be seen before they are flushed. Once true, it stays true.
    is_pipelined boolean                  NOT NULL DEFAULT false,
    CONSTRAINT log_floor_is_only_check CHECK (is_only)
);

INSERT INTO {schema}.log_floor (position, recorded_at) VALUES (0, 'epoch');
