-- The schema of a database of this version, with one view called "name". Checked by tests/schema.rs.

CREATE TABLE es_appends (
    key         TEXT    PRIMARY KEY,
    request     BLOB    NOT NULL,
    -- JSON: [[stream, first version, last version, first position], ...]
    streams     TEXT    NOT NULL,
    recorded_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE es_blobs (
    name   TEXT    PRIMARY KEY,
    put_at INTEGER NOT NULL,
    bytes  BLOB    NOT NULL
) STRICT;

CREATE INDEX es_blobs_put_at ON es_blobs (put_at);

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

CREATE TABLE es_dead_letter_edits (
    id             INTEGER PRIMARY KEY,
    dead_letter_id INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    by             TEXT    NOT NULL,
    reason         TEXT,
    headers        TEXT    NOT NULL,
    body           BLOB    NOT NULL
) STRICT;

CREATE INDEX es_dead_letter_edits_dead_letter ON es_dead_letter_edits (dead_letter_id, id);

CREATE TABLE es_dead_letter_totals (
    consumer TEXT    PRIMARY KEY,
    ever     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE es_dead_letters (
    -- Never used twice.
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer       TEXT    NOT NULL,
    -- A digest of everything that tells it from other dead letters of the consumer. It stays when the message is
    -- edited.
    identity       TEXT    NOT NULL,
    message_id     TEXT    NOT NULL,
    message_type   TEXT,
    topic          TEXT    NOT NULL,
    key            TEXT,
    reason         TEXT    NOT NULL,
    error          TEXT    NOT NULL,
    attempts       INTEGER NOT NULL,
    since          INTEGER NOT NULL,
    is_retry_requested INTEGER NOT NULL,
    -- The message: an object of texts as JSON, and bytes.
    headers        TEXT    NOT NULL,
    body           BLOB    NOT NULL,
    UNIQUE (consumer, identity)
) STRICT;

CREATE INDEX es_dead_letters_asked ON es_dead_letters (consumer, id) WHERE is_retry_requested;

CREATE INDEX es_dead_letters_since ON es_dead_letters (consumer, since);

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

CREATE UNIQUE INDEX es_events_id ON es_events (event_id);

CREATE UNIQUE INDEX es_events_stream ON es_events (stream, version);

CREATE INDEX es_events_type ON es_events (category, type);

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

CREATE TABLE es_high_water (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    position    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL
) STRICT;

CREATE TABLE es_inbox_0 (consumer TEXT NOT NULL, id TEXT NOT NULL, content INTEGER NOT NULL, PRIMARY KEY (consumer, id)) STRICT, WITHOUT ROWID;

CREATE TABLE es_inbox_1 (consumer TEXT NOT NULL, id TEXT NOT NULL, content INTEGER NOT NULL, PRIMARY KEY (consumer, id)) STRICT, WITHOUT ROWID;

CREATE TABLE es_inbox_2 (consumer TEXT NOT NULL, id TEXT NOT NULL, content INTEGER NOT NULL, PRIMARY KEY (consumer, id)) STRICT, WITHOUT ROWID;

CREATE TABLE es_inbox_3 (consumer TEXT NOT NULL, id TEXT NOT NULL, content INTEGER NOT NULL, PRIMARY KEY (consumer, id)) STRICT, WITHOUT ROWID;

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

CREATE TABLE es_members (
    consumer TEXT    NOT NULL,
    member   TEXT    NOT NULL,
    renewed  INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    PRIMARY KEY (consumer, member)
) STRICT, WITHOUT ROWID;

CREATE TABLE es_migrations (
    version    INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    checksum   TEXT    NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE es_operations (
    id            INTEGER PRIMARY KEY,
    at            INTEGER NOT NULL,
    kind          TEXT    NOT NULL,
    consumer      TEXT    NOT NULL,
    generation    INTEGER NOT NULL,
    from_position INTEGER,
    to_position   INTEGER,
    requested_by  TEXT    NOT NULL,
    reason        TEXT
) STRICT;

CREATE INDEX es_operations_consumer ON es_operations (consumer, id);

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

CREATE TABLE es_parked_events (
    consumer  TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    position  INTEGER NOT NULL,
    parked_at INTEGER NOT NULL,
    -- What it is to be tried with instead of its payload.
    edited    TEXT,
    -- The id of the event at the position.
    event_id  BLOB,
    PRIMARY KEY (consumer, key, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE es_parked_keys (
    -- In its generation; all partitions of it share one queue.
    consumer     TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    -- Kept by the triggers below; a key without events is removed.
    events       INTEGER NOT NULL,
    parked_at    INTEGER NOT NULL,
    first_error  TEXT    NOT NULL,
    last_error   TEXT    NOT NULL,
    attempts     INTEGER NOT NULL,
    tried_at     INTEGER NOT NULL,
    -- NULL: nobody asked for it to be tried again.
    retry_at     INTEGER,
    retry_by     TEXT,
    retry_reason TEXT,
    PRIMARY KEY (consumer, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX es_parked_asked ON es_parked_keys (consumer, retry_at) WHERE retry_at IS NOT NULL;

CREATE TABLE es_parking_history (
    id       INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    consumer TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    -- NULL: the whole key.
    position INTEGER,
    action   TEXT    NOT NULL,
    by       TEXT    NOT NULL,
    reason   TEXT,
    -- Of an edit.
    payload  TEXT
) STRICT;

CREATE INDEX es_parking_history_consumer ON es_parking_history (consumer);

CREATE TABLE es_records (
    key        TEXT    PRIMARY KEY NOT NULL,
    value      TEXT    NOT NULL,
    -- The commit that wrote the record last.
    revision   BLOB    NOT NULL,
    changed_at INTEGER NOT NULL
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

CREATE TABLE es_suspensions (
    consumer     TEXT    NOT NULL,
    kind         TEXT    NOT NULL CHECK (kind IN ('paused', 'disabled')),
    suspended_by TEXT    NOT NULL,
    since        INTEGER NOT NULL,
    reason       TEXT,
    PRIMARY KEY (consumer, kind)
) STRICT, WITHOUT ROWID;

CREATE VIEW "es_view_name" AS SELECT * FROM "es_view_name@1";

CREATE TABLE "es_view_name@1" (key TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE sqlite_sequence(name,seq);

CREATE TRIGGER es_dead_letters_count AFTER INSERT ON es_dead_letters
BEGIN
    INSERT INTO es_dead_letter_totals (consumer, ever) VALUES (new.consumer, 1)
    ON CONFLICT (consumer) DO UPDATE SET ever = ever + 1;
END;

CREATE TRIGGER es_events_removed AFTER DELETE ON es_events
BEGIN
    UPDATE es_high_water
    SET position = max(position, OLD.position), recorded_at = max(recorded_at, OLD.recorded_at);
END;

CREATE TRIGGER es_parked_added AFTER INSERT ON es_parked_events
BEGIN
    UPDATE es_parked_keys SET events = events + 1 WHERE consumer = NEW.consumer AND key = NEW.key;
END;

CREATE TRIGGER es_parked_removed AFTER DELETE ON es_parked_events
BEGIN
    UPDATE es_parked_keys SET events = events - 1 WHERE consumer = OLD.consumer AND key = OLD.key;
    DELETE FROM es_parked_keys WHERE consumer = OLD.consumer AND key = OLD.key AND events = 0;
END;
