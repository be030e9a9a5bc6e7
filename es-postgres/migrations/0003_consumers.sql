-- What is kept for consumers of the log, and snapshots of aggregates. The documents of a view get a table of
-- their own when the view is prepared (see sql/create_view.sql).
--
-- {schema} is replaced by the store's quoted schema name.

CREATE TABLE {schema}.checkpoints (
    consumer   text COLLATE "C"         NOT NULL CONSTRAINT checkpoints_pkey PRIMARY KEY,
    position   bigint                   NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    -- Whether it belongs to a generation that was live and is kept as it was then.
    is_frozen  boolean                  NOT NULL DEFAULT false,
    -- What has taken effect after the position, by slots: see the text form of es_core::Ahead. Null: nothing.
    ahead      text,
    -- Grows whenever its slots come from other partitions, or what was ahead is taken back.
    layout     bigint                   NOT NULL DEFAULT 0,
    CONSTRAINT checkpoints_position_check CHECK (position >= 0)
)
-- One row per consumer, or for each of its partitions (`name#0of4`) instead, updated once per page: room on its page keeps the
-- updates out of the index.
WITH (fillfactor = 10);

-- Who works for which consumer, so that several processes share the work. Apart from the checkpoints, so that a sign of life
-- never waits for a page that is being applied.
CREATE TABLE {schema}.leases (
    consumer text COLLATE "C"         NOT NULL CONSTRAINT leases_pkey PRIMARY KEY,
    -- Grows whenever the lease goes to somebody else or is given back.
    fence    bigint                   NOT NULL,
    -- Null: nobody has it.
    owner    text,
    since    timestamp with time zone,
    until    timestamp with time zone
)
WITH (fillfactor = 10);

-- Who would work for which consumer.
CREATE TABLE {schema}.members (
    consumer text COLLATE "C"         NOT NULL,
    member   text COLLATE "C"         NOT NULL,
    until    timestamp with time zone NOT NULL,
    CONSTRAINT members_pkey PRIMARY KEY (consumer, member)
)
WITH (fillfactor = 10);

-- The generations of each read model. A checkpoint and tables belong to one generation: the first has the consumer's
-- name as it is, a later one `name@2`.
CREATE TABLE {schema}.generations (
    consumer       text COLLATE "C"         NOT NULL,
    generation     bigint                   NOT NULL,
    state          text                     NOT NULL,
    code_version   bigint                   NOT NULL,
    -- The names by which readers find its tables; none for a view.
    tables         text[]                   NOT NULL,
    created_at     timestamp with time zone NOT NULL,
    builder        text,
    building_since timestamp with time zone,
    building_until timestamp with time zone,
    CONSTRAINT generations_pkey PRIMARY KEY (consumer, generation),
    CONSTRAINT generations_generation_check CHECK (generation > 0),
    CONSTRAINT generations_state_check CHECK (state IN ('building', 'live', 'retired'))
);

CREATE UNIQUE INDEX generations_live_idx ON {schema}.generations (consumer) WHERE state = 'live';
CREATE UNIQUE INDEX generations_building_idx ON {schema}.generations (consumer) WHERE state = 'building';

CREATE TABLE {schema}.snapshots (
    stream      text COLLATE "C"         NOT NULL CONSTRAINT snapshots_pkey PRIMARY KEY,
    version     bigint                   NOT NULL,
    last_event  uuid                     NOT NULL,
    fingerprint text                     NOT NULL,
    state       json                     NOT NULL,
    saved_at    timestamp with time zone NOT NULL
);

-- Gives a consumer a checkpoint. Gives true if it did, false if it has one, and null for a partition and for the whole of what
-- has partitions: partitions are made together, by those who hold the same lock (sql/lock_layout.sql). Without `p_waits` it gives
-- false too if somebody else holds that.
CREATE FUNCTION {schema}.start_checkpoint(p_consumer text, p_position bigint, p_waits boolean) RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_whole text := split_part(p_consumer, '#', 1);
    v_lock  integer := hashtext('{schema}' || v_whole);
BEGIN
    IF EXISTS (SELECT FROM {schema}.checkpoints c WHERE c.consumer = p_consumer) THEN
        RETURN false;
    END IF;
    IF p_waits THEN
        PERFORM pg_advisory_xact_lock(1702064997, v_lock);
    ELSIF NOT pg_try_advisory_xact_lock(1702064997, v_lock) THEN
        RETURN false;
    END IF;

    -- Nobody else makes checkpoints of this generation from here on.
    INSERT INTO {schema}.checkpoints (consumer, position, updated_at)
    SELECT p_consumer, p_position, clock_timestamp()
    WHERE p_consumer = v_whole
      AND NOT EXISTS (SELECT FROM {schema}.checkpoints c WHERE c.consumer = v_whole)
      AND NOT EXISTS (
          SELECT
          FROM {schema}.checkpoints c
          WHERE c.consumer > v_whole || '#' AND c.consumer < v_whole || '$'
      );
    IF FOUND THEN
        RETURN true;
    END IF;
    IF EXISTS (SELECT FROM {schema}.checkpoints c WHERE c.consumer = p_consumer) THEN
        RETURN false;
    END IF;
    RETURN NULL;
END
$function$;

-- Moves a checkpoint by compare-and-set and locks its row to the end of the transaction. Gives null if it moved, or
-- else the position at which the checkpoint is, -1 if it is frozen or of another layout than `p_layout`, or -2 if the consumer's
-- lease has another fence than `p_fence` by now (null: it moves without a lease). A consumer without a checkpoint is at 0.
-- Nothing stays ahead of a checkpoint that moves back.
--
-- The lease is looked at without a lock. If it goes to somebody else after that, they find this checkpoint locked, and then
-- moved: a page takes effect once.
CREATE FUNCTION {schema}.move_checkpoint(
    p_consumer text, p_from bigint, p_to bigint, p_fence bigint, p_layout bigint
) RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_actual    bigint;
    v_is_frozen boolean;
    v_layout    bigint;
    v_started   boolean;
BEGIN
    IF p_fence IS NOT NULL AND NOT EXISTS (
        SELECT FROM {schema}.leases l WHERE l.consumer = p_consumer AND l.fence = p_fence
    ) THEN
        RETURN -2;
    END IF;

    LOOP
        UPDATE {schema}.checkpoints c
        SET position = p_to,
            updated_at = clock_timestamp(),
            ahead = CASE WHEN p_to >= p_from THEN c.ahead END,
            layout = c.layout + (p_to < p_from AND c.ahead IS NOT NULL)::integer
        WHERE c.consumer = p_consumer AND c.position = p_from AND c.layout = p_layout AND NOT c.is_frozen;
        IF FOUND THEN
            RETURN NULL;
        END IF;

        SELECT c.position, c.is_frozen, c.layout INTO v_actual, v_is_frozen, v_layout
        FROM {schema}.checkpoints c
        WHERE c.consumer = p_consumer;
        IF NOT FOUND THEN
            -- Whoever believes in another layout, or in one that was there, must not begin anew.
            IF p_layout <> 0 OR position('#' IN p_consumer) > 0 OR EXISTS (
                SELECT
                FROM {schema}.checkpoints c
                WHERE c.consumer > p_consumer || '#' AND c.consumer < p_consumer || '$'
            ) THEN
                RETURN -1;
            END IF;
            IF p_from <> 0 THEN
                RETURN 0;
            END IF;
            v_started := {schema}.start_checkpoint(p_consumer, p_to, true);
            IF v_started THEN
                RETURN NULL;
            END IF;
        ELSIF v_is_frozen OR v_layout <> p_layout THEN
            RETURN -1;
        ELSIF v_actual <> p_from THEN
            RETURN v_actual;
        END IF;
        -- It came to `p_from`, or to be, between the statements: once more.
    END LOOP;
END
$function$;

-- Moves all checkpoints of a generation to 0, wherever they are, and takes back what was ahead of them. Gives whether it did: not
-- if they are frozen. Locks their rows to the end of the transaction.
CREATE FUNCTION {schema}.reset_checkpoints(p_generation text) RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM pg_advisory_xact_lock(1702064997, hashtext('{schema}' || p_generation));
    UPDATE {schema}.checkpoints c
    SET position = 0,
        updated_at = clock_timestamp(),
        ahead = NULL,
        layout = c.layout + (c.ahead IS NOT NULL)::integer
    WHERE (c.consumer = p_generation OR (c.consumer > p_generation || '#' AND c.consumer < p_generation || '$'))
      AND NOT c.is_frozen;
    RETURN FOUND OR {schema}.start_checkpoint(p_generation, 0, true);
END
$function$;
