-- What is kept for consumers of the log, and snapshots of aggregates. The documents of a view get a table of
-- their own when the view is prepared (see sql/create_view.sql).
--
-- {schema} is replaced by the store's quoted schema name.

CREATE TABLE {schema}.checkpoints (
    consumer   text COLLATE "C"         NOT NULL CONSTRAINT checkpoints_pkey PRIMARY KEY,
    position   bigint                   NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    CONSTRAINT checkpoints_position_check CHECK (position >= 0)
)
-- One row per consumer, updated once per page: room on its page keeps the updates out of the index.
WITH (fillfactor = 10);

CREATE TABLE {schema}.snapshots (
    stream      text COLLATE "C"         NOT NULL CONSTRAINT snapshots_pkey PRIMARY KEY,
    version     bigint                   NOT NULL,
    last_event  uuid                     NOT NULL,
    fingerprint text                     NOT NULL,
    state       json                     NOT NULL,
    saved_at    timestamp with time zone NOT NULL
);

-- Moves a checkpoint by compare-and-set and locks its row to the end of the transaction. Gives null if it moved, or
-- else the position at which the checkpoint is. A consumer without a checkpoint is at 0.
CREATE FUNCTION {schema}.move_checkpoint(p_consumer text, p_from bigint, p_to bigint) RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_actual bigint;
BEGIN
    LOOP
        UPDATE {schema}.checkpoints c
        SET position = p_to, updated_at = clock_timestamp()
        WHERE c.consumer = p_consumer AND c.position = p_from;
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

        SELECT c.position INTO v_actual FROM {schema}.checkpoints c WHERE c.consumer = p_consumer;
        IF coalesce(v_actual, 0) <> p_from THEN
            RETURN coalesce(v_actual, 0);
        END IF;
        -- It came to `p_from` between the statements: once more.
    END LOOP;
END
$function$;
