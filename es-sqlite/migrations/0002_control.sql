-- What operators do to consumers, and the log of it.

-- Which consumers are suspended, by whom and why; `consumer` is a name without a generation.
CREATE TABLE es_suspensions (
    consumer     TEXT    NOT NULL,
    kind         TEXT    NOT NULL CHECK (kind IN ('paused', 'disabled')),
    suspended_by TEXT    NOT NULL,
    since        INTEGER NOT NULL,
    reason       TEXT,
    PRIMARY KEY (consumer, kind)
) STRICT, WITHOUT ROWID;

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
