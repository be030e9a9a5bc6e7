-- What is kept for consumers of the log, and snapshots of aggregates. The documents of a view get a table of
-- their own when the view is prepared (see sql/create_view.sql).
--
-- {schema} is replaced by the store's quoted schema name.

CREATE TABLE {schema}.checkpoints (
    consumer              text COLLATE "C"         NOT NULL CONSTRAINT checkpoints_pkey PRIMARY KEY,
    position              bigint                   NOT NULL,
    updated_at            timestamp with time zone NOT NULL,
    -- Whether it belongs to a generation that was live and is kept as it was then.
    is_frozen             boolean                  NOT NULL DEFAULT false,
    -- What has taken effect after the position, by slots: see the text form of es_core::SlotOffsets. Null: nothing.
    slot_offsets          text,
    -- Grows whenever its slots come from other partitions, or its slot offsets are taken back.
    partition_epoch       bigint                   NOT NULL DEFAULT 0,
    -- The id of the event at the position, and at the last position of the slot offsets. A log that holds another event
    -- there is not the one that the consumer has read. Null: there is none.
    event_id              uuid,
    slot_offsets_event_id uuid,
    CONSTRAINT checkpoints_position_check CHECK (position >= 0)
)
-- One row per consumer, or for each of its partitions (`name#0of4`) instead, updated once per page: room on its page keeps the
-- updates out of the index.
WITH (fillfactor = 10);

-- Who works for which consumer, so that several processes share the work. Apart from the checkpoints, so that a
-- heartbeat never waits for a page that is being applied.
CREATE TABLE {schema}.leases (
    consumer text COLLATE "C"         NOT NULL CONSTRAINT leases_pkey PRIMARY KEY,
    -- Grows whenever the lease goes to somebody else or is given back.
    fence    bigint                   NOT NULL,
    -- Null: nobody has it.
    owner    text,
    since    timestamp with time zone,
    -- When it was last claimed or extended. A lease from the future was granted by a clock that has been set back since, and
    -- nobody has it: no lease outlives its own length.
    renewed  timestamp with time zone,
    until    timestamp with time zone,
    -- Whether it was seized: appends leave an inline projection to its runner meanwhile.
    seized   boolean                  NOT NULL DEFAULT false
)
WITH (fillfactor = 10);

-- Who would work for which consumer.
CREATE TABLE {schema}.members (
    consumer text COLLATE "C"         NOT NULL,
    member   text COLLATE "C"         NOT NULL,
    renewed  timestamp with time zone NOT NULL,
    until    timestamp with time zone NOT NULL,
    CONSTRAINT members_pkey PRIMARY KEY (consumer, member)
)
WITH (fillfactor = 10);

-- The generations of each read model. A checkpoint and tables belong to one generation: the first has the consumer's
-- name as it is, a later one `name@2`.
CREATE TABLE {schema}.generations (
    consumer         text COLLATE "C"         NOT NULL,
    generation       bigint                   NOT NULL,
    state            text                     NOT NULL,
    code_version     bigint                   NOT NULL,
    -- The names by which readers find its tables; none for a view.
    tables           text[]                   NOT NULL,
    created_at       timestamp with time zone NOT NULL,
    builder          text,
    building_since   timestamp with time zone,
    building_renewed timestamp with time zone,
    building_until   timestamp with time zone,
    CONSTRAINT generations_pkey PRIMARY KEY (consumer, generation),
    CONSTRAINT generations_generation_check CHECK (generation > 0),
    CONSTRAINT generations_state_check CHECK (state IN ('building', 'live', 'retired'))
);

CREATE UNIQUE INDEX generations_live_idx ON {schema}.generations (consumer) WHERE state = 'live';
CREATE UNIQUE INDEX generations_building_idx ON {schema}.generations (consumer) WHERE state = 'building';

CREATE TABLE {schema}.snapshots (
    stream      text COLLATE "C"         NOT NULL,
    -- Several aggregates can be built from one stream.
    aggregate   text COLLATE "C"         NOT NULL,
    version     bigint                   NOT NULL,
    last_event  uuid                     NOT NULL,
    fingerprint text                     NOT NULL,
    state       json                     NOT NULL,
    saved_at    timestamp with time zone NOT NULL,
    CONSTRAINT snapshots_pkey PRIMARY KEY (stream, aggregate)
);

-- The id of the event at a position; null if there is none.
CREATE FUNCTION {schema}.event_at(p_position bigint) RETURNS uuid
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT e.event_id FROM {schema}.events e WHERE e.position = p_position
$function$;

-- Gives a consumer a checkpoint. Returns true if it did, false if it has one, and null for a partition and for the
-- unpartitioned name of what has partitions: partitions are made together, by those who hold the same lock
-- (sql/lock_partition_epoch.sql). Without `p_waits` it returns false too if another transaction holds that.
CREATE FUNCTION {schema}.start_checkpoint(p_consumer text, p_position bigint, p_waits boolean) RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_unpartitioned text := split_part(p_consumer, '#', 1);
    v_lock          integer := hashtext('{schema}' || v_unpartitioned);
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
    INSERT INTO {schema}.checkpoints (consumer, position, updated_at, event_id)
    SELECT p_consumer, p_position, clock_timestamp(), {schema}.event_at(p_position)
    WHERE p_consumer = v_unpartitioned
      AND NOT EXISTS (SELECT FROM {schema}.checkpoints c WHERE c.consumer = v_unpartitioned)
      AND NOT EXISTS (
          SELECT
          FROM {schema}.checkpoints c
          WHERE c.consumer > v_unpartitioned || '#' AND c.consumer < v_unpartitioned || '$'
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
-- else the position at which the checkpoint is, -1 if it is frozen or of another partition epoch than
-- `p_partition_epoch`, -2 if the consumer's lease has another fence than `p_fence` by now (null: it moves without a
-- lease), or -3 if the log does not hold the event `p_seen_id` at `p_seen` (null: the mover has read nothing): it went
-- back. A consumer without a checkpoint is at 0. A checkpoint that moves back keeps no slot offsets.
--
-- The lease is looked at without a lock. If it goes to somebody else after that, they find this checkpoint locked, and then
-- moved: a page takes effect once.
CREATE FUNCTION {schema}.move_checkpoint(
    p_consumer text, p_from bigint, p_to bigint, p_fence bigint, p_partition_epoch bigint,
    p_seen bigint DEFAULT NULL, p_seen_id uuid DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_actual          bigint;
    v_is_frozen       boolean;
    v_partition_epoch bigint;
    v_started         boolean;
    v_seen_id         uuid;
    v_event_id        uuid;
BEGIN
    SELECT e.event_id INTO v_event_id FROM {schema}.events e WHERE e.position = p_to;
    IF p_seen IS NOT NULL THEN
        IF p_seen = p_to THEN
            v_seen_id := v_event_id;
        ELSE
            SELECT e.event_id INTO v_seen_id FROM {schema}.events e WHERE e.position = p_seen;
        END IF;
        -- An event that is not there may have been removed from the log, unless the log ends before it.
        IF v_seen_id <> p_seen_id OR (v_seen_id IS NULL AND p_seen > greatest(
            (SELECT f.position FROM {schema}.log_floor f), (SELECT max(e.position) FROM {schema}.events e)
        )) THEN
            RETURN -3;
        END IF;
    END IF;

    IF p_fence IS NOT NULL AND NOT EXISTS (
        SELECT FROM {schema}.leases l WHERE l.consumer = p_consumer AND l.fence = p_fence
    ) THEN
        RETURN -2;
    END IF;

    LOOP
        UPDATE {schema}.checkpoints c
        SET position = p_to,
            updated_at = clock_timestamp(),
            slot_offsets = CASE WHEN p_to >= p_from THEN c.slot_offsets END,
            event_id = v_event_id,
            slot_offsets_event_id = CASE WHEN p_to >= p_from THEN c.slot_offsets_event_id END,
            partition_epoch = c.partition_epoch + (p_to < p_from AND c.slot_offsets IS NOT NULL)::integer
        WHERE c.consumer = p_consumer AND c.position = p_from AND c.partition_epoch = p_partition_epoch
          AND NOT c.is_frozen;
        IF FOUND THEN
            RETURN NULL;
        END IF;

        SELECT c.position, c.is_frozen, c.partition_epoch INTO v_actual, v_is_frozen, v_partition_epoch
        FROM {schema}.checkpoints c
        WHERE c.consumer = p_consumer;
        IF NOT FOUND THEN
            -- A process that believes in another partition epoch, or in one that is over, must not begin anew.
            IF p_partition_epoch <> 0 OR position('#' IN p_consumer) > 0 OR EXISTS (
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
        ELSIF v_is_frozen OR v_partition_epoch <> p_partition_epoch THEN
            RETURN -1;
        ELSIF v_actual <> p_from THEN
            RETURN v_actual;
        END IF;
        -- It came to `p_from`, or to be, between the statements: once more.
    END LOOP;
END
$function$;

-- Moves all checkpoints of a generation to 0, wherever they are, and takes back their slot offsets. Returns whether it
-- did: not if they are frozen. Locks their rows to the end of the transaction.
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
        slot_offsets = NULL,
        event_id = NULL,
        slot_offsets_event_id = NULL,
        partition_epoch = c.partition_epoch + (c.slot_offsets IS NOT NULL)::integer
    WHERE (c.consumer = p_generation OR (c.consumer > p_generation || '#' AND c.consumer < p_generation || '$'))
      AND NOT c.is_frozen;
    RETURN FOUND OR {schema}.start_checkpoint(p_generation, 0, true);
END
$function$;

REVOKE ALL ON FUNCTION
    {schema}.event_at,
    {schema}.start_checkpoint,
    {schema}.move_checkpoint,
    {schema}.reset_checkpoints FROM PUBLIC;
