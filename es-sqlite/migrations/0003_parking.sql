-- Events that could not be applied, and those of the same key that wait behind them.

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

CREATE TRIGGER es_parked_added AFTER INSERT ON es_parked_events
BEGIN
    UPDATE es_parked_keys SET events = events + 1 WHERE consumer = NEW.consumer AND key = NEW.key;
END;

CREATE TRIGGER es_parked_removed AFTER DELETE ON es_parked_events
BEGIN
    UPDATE es_parked_keys SET events = events - 1 WHERE consumer = OLD.consumer AND key = OLD.key;
    DELETE FROM es_parked_keys WHERE consumer = OLD.consumer AND key = OLD.key AND events = 0;
END;

-- What was done to parked events by hand. Kept when the events are gone.
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
