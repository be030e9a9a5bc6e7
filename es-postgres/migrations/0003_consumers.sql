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
    CONSTRAINT checkpoints_position_check CHECK (position >= 0)
)
-- One row per consumer, updated once per page: room on its page keeps the updates out of the index.
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

-- Moves a checkpoint by compare-and-set and locks its row to the end of the transaction. Gives null if it moved, or
-- else the position at which the checkpoint is, -1 if it is frozen, or -2 if the consumer's lease has another fence than
-- `p_fence` by now (null: it moves without a lease). A consumer without a checkpoint is at 0.
--
-- The lease is looked at without a lock. If it goes to somebody else after that, they find this checkpoint locked, and then
-- moved: a page takes effect once.
CREATE FUNCTION {schema}.move_checkpoint(p_consumer text, p_from bigint, p_to bigint, p_fence bigint) RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_actual    bigint;
    v_is_frozen boolean;
BEGIN
    IF p_fence IS NOT NULL AND NOT EXISTS (
        SELECT FROM {schema}.leases l WHERE l.consumer = p_consumer AND l.fence = p_fence
    ) THEN
        RETURN -2;
    END IF;

    LOOP
        UPDATE {schema}.checkpoints c
        SET position = p_to, updated_at = clock_timestamp()
        WHERE c.consumer = p_consumer AND c.position = p_from AND NOT c.is_frozen;
        IF FOUND THEN
            RETURN NULL;
        END IF;

        IF p_from = 0 THEN
            INSERT INTO {schema}.checkpoints (consumer, position, updated_at)
            VALUES (p_consumer, p_to, clock_timestamp())
            ON CONFLICT (consumer) DO NOTHING;
            IF FOUND THEN
                RETURN NULL;
            END IF;
        END IF;

        SELECT c.position, c.is_frozen INTO v_actual, v_is_frozen
        FROM {schema}.checkpoints c
        WHERE c.consumer = p_consumer;
        IF v_is_frozen THEN
            RETURN -1;
        END IF;
        IF coalesce(v_actual, 0) <> p_from THEN
            RETURN coalesce(v_actual, 0);
        END IF;
        -- It came to `p_from` between the statements: once more.
    END LOOP;
END
$function$;
