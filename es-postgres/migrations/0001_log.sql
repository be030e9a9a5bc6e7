-- The log: events in one total order, the keys of appends, and the place below which no position is free.
--
-- {schema} is replaced by the store's quoted schema name.
--
-- Nothing here is updated by an append: the order comes from an advisory lock, and the head is read from the
-- primary key's right end. The unique indexes are a second line of defence: the function `append` checks under
-- its lock whatever they say, so `events` can be partitioned by position later.
--
-- Only the function `append` writes to `events` and `appends`, with the rights of the schema's owner, and checks what it is
-- given; triggers refuse every other change, the owner's too. The checks are not table constraints: PostgreSQL prepares
-- those again for each statement, which makes an append of one event a quarter slower.

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

-- Every key under which something was appended, for ever, and a digest of what it stands for.
CREATE TABLE {schema}.appends (
    key            text COLLATE "C" NOT NULL CONSTRAINT appends_pkey PRIMARY KEY,
    first_position bigint           NOT NULL,
    last_position  bigint           NOT NULL,
    request        bytea            NOT NULL,
    CONSTRAINT appends_key_check CHECK (octet_length(key) BETWEEN 1 AND 200),
    CONSTRAINT appends_positions_check CHECK (first_position > 0 AND first_position <= last_position)
)
WITH (
    autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_freeze_min_age = 0
);

-- One row: no position up to `position` and no time before `recorded_at` may be given to a new event, even if the
-- events themselves are no longer in `events`. It never falls, and never rises above the newest event: raise it before the newest
-- events are removed, in the same transaction.
CREATE TABLE {schema}.log_floor (
    is_only      boolean                  NOT NULL DEFAULT true CONSTRAINT log_floor_pkey PRIMARY KEY,
    position     bigint                   NOT NULL,
    recorded_at  timestamp with time zone NOT NULL,
    -- Whether appends may be seen before they are flushed. Once true, it stays true.
    is_pipelined boolean                  NOT NULL DEFAULT false,
    CONSTRAINT log_floor_is_only_check CHECK (is_only),
    CONSTRAINT log_floor_recorded_at_check CHECK (recorded_at < to_timestamp(253402300800))
);

INSERT INTO {schema}.log_floor (position, recorded_at) VALUES (0, 'epoch');

-- Whether readers can read the names of an event: its stream as es_core::StreamId (`tenant@category/id` or `category/id`)
-- reads it, and what follows in `types`, which is its type or the types of many events in one text, without a control character.
CREATE FUNCTION {schema}.are_readable_names(category text, stream text, types text) RETURNS boolean
LANGUAGE sql
IMMUTABLE
RETURN octet_length(category) BETWEEN 1 AND 64
    AND octet_length(stream) - strpos(stream, '/') BETWEEN 1 AND 200
    AND strpos(stream, '/') - 1 - octet_length(category) BETWEEN 0 AND 65
    AND stream || types ~ '^([A-Za-z0-9_.-]+@)?[A-Za-z0-9_.-]+/[^\x01-\x1f\x7f-\x9f]+$'
    AND (starts_with(stream, category || '/') OR split_part(split_part(stream, '/', 1), '@', 2) = category);

-- Whether readers can read the rest of an event: its sizes are within the limits of es_core::limits, and its time is before the year
-- 10000. An append refuses larger payloads than it takes; 64 MiB is the most that any may take.
CREATE FUNCTION {schema}.is_readable(
    type text, metadata text, payload text, occurred_at timestamp with time zone
) RETURNS boolean
LANGUAGE sql
IMMUTABLE
RETURN octet_length(payload) <= 67108864
    AND octet_length(metadata) <= 65536
    AND starts_with(metadata, '{')
    AND octet_length(type) BETWEEN 1 AND 128
    AND (occurred_at IS NULL OR (occurred_at > '-infinity' AND occurred_at < to_timestamp(253402300800)));

-- Rejects a statement on the log, regardless of the role.
CREATE FUNCTION {schema}.refuse_change_of_log() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION '% on % is refused: the log only grows, by the function append', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$function$;

CREATE TRIGGER events_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.events
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_change_of_log();
-- The setting belongs to the function `append`.
CREATE TRIGGER events_are_appended BEFORE INSERT ON {schema}.events
    FOR EACH STATEMENT WHEN (current_setting('es.is_append', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION {schema}.refuse_change_of_log();
CREATE TRIGGER appends_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.appends
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_change_of_log();
CREATE TRIGGER appends_are_appended BEFORE INSERT ON {schema}.appends
    FOR EACH STATEMENT WHEN (current_setting('es.is_append', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION {schema}.refuse_change_of_log();

-- Refuses a floor that falls or rises above the newest event: either would take positions from the log.
CREATE FUNCTION {schema}.check_log_floor() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF NEW.position < OLD.position OR NEW.recorded_at < OLD.recorded_at OR (OLD.is_pipelined AND NOT NEW.is_pipelined)
        OR NEW.position > greatest(OLD.position, (SELECT max(e.position) FROM {schema}.events e))
    THEN
        RAISE EXCEPTION 'the floor of the log may rise to the position of the newest event, and never falls'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$function$;

CREATE TRIGGER log_floor_rises BEFORE UPDATE ON {schema}.log_floor
    FOR EACH ROW EXECUTE FUNCTION {schema}.check_log_floor();
CREATE TRIGGER log_floor_is_kept BEFORE INSERT OR DELETE OR TRUNCATE ON {schema}.log_floor
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_change_of_log();

-- Notes that appends may be seen before they are flushed. With its owner's rights: nobody else changes log_floor.
CREATE FUNCTION {schema}.use_pipelined() RETURNS void
LANGUAGE sql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
    UPDATE {schema}.log_floor f SET is_pipelined = true WHERE NOT f.is_pipelined
$function$;

REVOKE ALL ON FUNCTION {schema}.are_readable_names, {schema}.is_readable, {schema}.refuse_change_of_log(), {schema}.check_log_floor(), {schema}.use_pipelined() FROM PUBLIC;
