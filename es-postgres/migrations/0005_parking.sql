-- Events that could not be applied, and those of the same key that wait behind them.
--
-- {schema} is replaced by the store's quoted schema name.

CREATE TABLE {schema}.parked_keys (
    -- In its generation; all partitions of it share one queue.
    consumer     text COLLATE "C"         NOT NULL,
    key          text COLLATE "C"         NOT NULL,
    -- Changes with each event; a key without events is removed.
    events       bigint                   NOT NULL,
    parked_at    timestamp with time zone NOT NULL,
    first_error  text                     NOT NULL,
    last_error   text                     NOT NULL,
    attempts     bigint                   NOT NULL,
    tried_at     timestamp with time zone NOT NULL,
    -- Null: no retry is requested.
    retry_at     timestamp with time zone,
    retry_by     text,
    retry_reason text,
    CONSTRAINT parked_keys_pkey PRIMARY KEY (consumer, key)
);

CREATE INDEX parked_keys_retry_requested_idx ON {schema}.parked_keys (consumer, retry_at) WHERE retry_at IS NOT NULL;

CREATE TABLE {schema}.parked_events (
    consumer  text COLLATE "C"         NOT NULL,
    key       text COLLATE "C"         NOT NULL,
    position  bigint                   NOT NULL,
    parked_at timestamp with time zone NOT NULL,
    -- What it is to be tried with instead of its payload.
    edited    json,
    -- The id of the event at the position.
    event_id  uuid,
    CONSTRAINT parked_events_pkey PRIMARY KEY (consumer, key, position)
);

-- What was done to parked events by hand. Kept when the events are gone.
CREATE TABLE {schema}.parking_history (
    id       bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT parking_history_pkey PRIMARY KEY,
    at       timestamp with time zone NOT NULL,
    consumer text COLLATE "C"         NOT NULL,
    key      text COLLATE "C"         NOT NULL,
    -- Null: the whole key.
    position bigint,
    action   text                     NOT NULL,
    by       text                     NOT NULL,
    reason   text,
    -- Of an edit.
    payload  json
);

CREATE INDEX parking_history_consumer_idx ON {schema}.parking_history (consumer, id);

-- Puts events aside and lets others go, in a transaction in which the consumer's checkpoint moves. Gives null, or the key
-- whose parked events are not what the caller believes: the transaction must not be committed then.
--
-- p_keys, p_positions, p_errors, p_attempts: events to put aside; without an error, one that waits behind others.
-- p_gone_keys, p_gone_positions: events that leave the queue.
-- The rows of the keys are locked in the order of their texts, and their events after them.
CREATE FUNCTION {schema}.change_parked(
    p_consumer text,
    p_keys text[], p_positions bigint[], p_errors text[], p_attempts bigint[],
    p_gone_keys text[], p_gone_positions bigint[]
) RETURNS text
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_known text[];
    v_lost  text;
BEGIN
    INSERT INTO {schema}.parked_keys
        (consumer, key, events, parked_at, first_error, last_error, attempts, tried_at)
    SELECT p_consumer, f.key, 0, clock_timestamp(), f.error, f.error, f.attempts, clock_timestamp()
    FROM (
        SELECT DISTINCT ON (p.key) p.key, p.error, p.attempts
        FROM unnest(p_keys, p_positions, p_errors, p_attempts) AS p (key, position, error, attempts)
        WHERE p.error IS NOT NULL
        ORDER BY p.key, p.position
    ) f
    ON CONFLICT (consumer, key) DO NOTHING;

    SELECT coalesce(array_agg(l.key), '{}') INTO v_known
    FROM (
        SELECT k.key
        FROM {schema}.parked_keys k
        WHERE k.consumer = p_consumer AND k.key = ANY (p_keys || p_gone_keys)
        ORDER BY k.key
        FOR UPDATE
    ) l;
    SELECT w.key INTO v_lost
    FROM unnest(p_keys || p_gone_keys) AS w (key)
    WHERE w.key <> ALL (v_known)
    LIMIT 1;
    IF v_lost IS NOT NULL THEN
        RETURN v_lost;
    END IF;

    WITH added AS (
        INSERT INTO {schema}.parked_events (consumer, key, position, parked_at, event_id)
        SELECT p_consumer, p.key, p.position, clock_timestamp(), {schema}.event_at(p.position)
        FROM unnest(p_keys, p_positions) AS p (key, position)
        ON CONFLICT (consumer, key, position) DO NOTHING
        RETURNING key
    ), counted AS (
        SELECT a.key, count(*) AS events FROM added a GROUP BY a.key
    )
    UPDATE {schema}.parked_keys k
    SET events = k.events + c.events
    FROM counted c
    WHERE k.consumer = p_consumer AND k.key = c.key;

    IF cardinality(p_gone_keys) > 0 THEN
        WITH gone AS (
            DELETE FROM {schema}.parked_events e
            USING unnest(p_gone_keys, p_gone_positions) AS g (key, position)
            WHERE e.consumer = p_consumer AND e.key = g.key AND e.position = g.position
            RETURNING e.key
        ), counted AS (
            SELECT g.key, count(*) AS events FROM gone g GROUP BY g.key
        ), lessened AS (
            UPDATE {schema}.parked_keys k
            SET events = k.events - c.events
            FROM counted c
            WHERE k.consumer = p_consumer AND k.key = c.key
        )
        SELECT w.key INTO v_lost
        FROM unnest(p_gone_keys) AS w (key)
        LEFT JOIN counted c USING (key)
        GROUP BY w.key, c.events
        HAVING count(*) <> coalesce(c.events, 0)
        LIMIT 1;
        DELETE FROM {schema}.parked_keys k
        WHERE k.consumer = p_consumer AND k.key = ANY (p_gone_keys) AND k.events = 0;
    END IF;
    RETURN v_lost;
END
$function$;

REVOKE ALL ON FUNCTION {schema}.change_parked FROM PUBLIC;
