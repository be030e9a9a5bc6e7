-- Messages that could not be published or handled.

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

CREATE INDEX es_dead_letters_since ON es_dead_letters (consumer, since);
CREATE INDEX es_dead_letters_asked ON es_dead_letters (consumer, id) WHERE is_retry_requested;

-- How many dead letters each relay or consumer ever had.
CREATE TABLE es_dead_letter_totals (
    consumer TEXT    PRIMARY KEY,
    ever     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Not for one that is there already.
CREATE TRIGGER es_dead_letters_count AFTER INSERT ON es_dead_letters
BEGIN
    INSERT INTO es_dead_letter_totals (consumer, ever) VALUES (new.consumer, 1)
    ON CONFLICT (consumer) DO UPDATE SET ever = ever + 1;
END;

-- What dead letters were before they were edited. Kept when the dead letters are gone.
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
