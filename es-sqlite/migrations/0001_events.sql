-- The log, what is remembered of appends, checkpoints, and snapshots. Documents of views have a table each, made when
-- a view is first prepared.

CREATE TABLE es_events (
    position    INTEGER PRIMARY KEY,
    stream      TEXT    NOT NULL,
    category    TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    event_id    BLOB    NOT NULL,
    type        TEXT    NOT NULL,
    -- Microseconds since 1970-01-01T00:00:00Z; NULL: when it was recorded.
    occurred_at INTEGER,
    recorded_at INTEGER NOT NULL,
    metadata    TEXT    NOT NULL,
    -- Last, so that the columns before it are read without it. The exact bytes that were appended.
    payload     TEXT    NOT NULL
) STRICT;

CREATE UNIQUE INDEX es_events_stream ON es_events (stream, version);
CREATE UNIQUE INDEX es_events_id ON es_events (event_id);
-- Every index of SQLite ends in the row's key, so this one is in the order of (category, type, position).
CREATE INDEX es_events_type ON es_events (category, type);

-- What was reached before events were removed: no position is given twice, and no time goes back. An append takes the
-- larger of this and of the last event, so that it need not write here.
CREATE TABLE es_high_water (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    position    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL
) STRICT;

INSERT INTO es_high_water (id, position, recorded_at) VALUES (1, 0, 0);

CREATE TRIGGER es_events_removed AFTER DELETE ON es_events
BEGIN
    UPDATE es_high_water
    SET position = max(position, OLD.position), recorded_at = max(recorded_at, OLD.recorded_at);
END;

-- The outcome of each append that had an idempotency key, and a digest of what the key stands for.
CREATE TABLE es_appends (
    key         TEXT    PRIMARY KEY,
    request     BLOB    NOT NULL,
    -- JSON: [[stream, first version, last version, first position], ...]
    streams     TEXT    NOT NULL,
    recorded_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per consumer, or for each of its partitions (`name#0of4`) instead.
CREATE TABLE es_checkpoints (
    consumer              TEXT    PRIMARY KEY,
    position              INTEGER NOT NULL,
    updated_at            INTEGER NOT NULL,
    -- 1 if it belongs to a generation that was live and is kept as it was then.
    is_frozen             INTEGER NOT NULL DEFAULT 0,
    -- What has taken effect after the position, by slots: see the text form of es_core::SlotOffsets. NULL: nothing.
    slot_offsets          TEXT,
    -- Grows whenever its slots come from other partitions, or its slot offsets are taken back.
    partition_epoch       INTEGER NOT NULL DEFAULT 0,
    -- The id of the event at the position, and at the last position of the slot offsets. A log that holds another event
    -- there is not the one that the consumer has read. NULL: there is none.
    event_id              BLOB,
    slot_offsets_event_id BLOB
) STRICT, WITHOUT ROWID;

-- Who works for which consumer, so that several processes share the work.
CREATE TABLE es_leases (
    consumer TEXT    PRIMARY KEY,
    -- Grows whenever the lease goes to somebody else or is given back.
    fence    INTEGER NOT NULL,
    -- NULL: nobody has it.
    owner    TEXT,
    since    INTEGER,
    -- When it was last claimed or extended. A lease from the future was granted by a clock that has been set back since, and
    -- nobody has it: no lease outlives its own length.
    renewed  INTEGER,
    until    INTEGER,
    -- Whether it was seized: appends leave an inline projection to its runner meanwhile.
    seized   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Who would work for which consumer.
CREATE TABLE es_members (
    consumer TEXT    NOT NULL,
    member   TEXT    NOT NULL,
    renewed  INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    PRIMARY KEY (consumer, member)
) STRICT, WITHOUT ROWID;

-- The generations of each read model. A checkpoint and tables belong to one generation: the first has the consumer's
-- name as it is, a later one `name@2`.
CREATE TABLE es_generations (
    consumer         TEXT    NOT NULL,
    generation       INTEGER NOT NULL CHECK (generation > 0),
    state            TEXT    NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    code_version     INTEGER NOT NULL,
    -- JSON: the names by which readers find its tables; none for a view.
    tables           TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    builder          TEXT,
    building_since   INTEGER,
    building_renewed INTEGER,
    building_until   INTEGER,
    PRIMARY KEY (consumer, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE es_snapshots (
    stream      TEXT    NOT NULL,
    aggregate   TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    last_event  BLOB    NOT NULL,
    fingerprint TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    PRIMARY KEY (stream, aggregate)
) STRICT;
