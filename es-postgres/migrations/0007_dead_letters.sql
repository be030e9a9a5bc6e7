-- Messages that could not be published or handled.
--
-- {schema} is replaced by the store's quoted schema name.

CREATE TABLE {schema}.dead_letters (
    id             bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT dead_letters_pkey PRIMARY KEY,
    consumer       text COLLATE "C"         NOT NULL,
    -- A digest of everything that tells it from other dead letters of the consumer. It stays when the message is
    -- edited.
    identity       text COLLATE "C"         NOT NULL,
    message_id     text COLLATE "C"         NOT NULL,
    message_type   text COLLATE "C",
    topic          text                     NOT NULL,
    key            text COLLATE "C",
    reason         text COLLATE "C"         NOT NULL,
    error          text                     NOT NULL,
    attempts       bigint                   NOT NULL,
    since          timestamp with time zone NOT NULL,
    is_retry_requested boolean                  NOT NULL,
    -- The message: an object of texts, and bytes.
    headers        json                     NOT NULL,
    body           bytea                    NOT NULL,
    CONSTRAINT dead_letters_identity_key UNIQUE (consumer, identity)
);

CREATE INDEX dead_letters_since_idx ON {schema}.dead_letters (consumer, since);
CREATE INDEX dead_letters_retry_requested_idx ON {schema}.dead_letters (consumer, id) WHERE is_retry_requested;

-- What dead letters were before they were edited. Kept when the dead letters are gone.
CREATE TABLE {schema}.dead_letter_edits (
    id             bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT dead_letter_edits_pkey PRIMARY KEY,
    dead_letter_id bigint                   NOT NULL,
    at             timestamp with time zone NOT NULL,
    by             text                     NOT NULL,
    reason         text,
    headers        json                     NOT NULL,
    body           bytea                    NOT NULL
);

CREATE INDEX dead_letter_edits_dead_letter_idx ON {schema}.dead_letter_edits (dead_letter_id, id);

-- How many dead letters each relay or consumer ever had.
CREATE TABLE {schema}.dead_letter_totals (
    consumer text COLLATE "C" CONSTRAINT dead_letter_totals_pkey PRIMARY KEY,
    ever     bigint NOT NULL
);
