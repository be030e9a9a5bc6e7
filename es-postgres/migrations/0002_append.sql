-- The function `append`: one call, whatever the number of events and streams.
--
-- {schema} is replaced by the store's quoted schema name.
--
-- p_streams, p_categories, p_expected, p_decided_after, p_offsets and p_counts have one element per stream:
--   p_expected       -2 any version, -1 an existing stream, 0 no stream, otherwise exactly this version
--   p_decided_after  the expected id of the stream's last event, or null
--   p_offsets        how many events of the append come before the stream's first
--   p_counts         how many events the stream gets; 0 makes it a guard
-- p_parts, p_ids, p_types, p_payloads, p_metadata and p_occurred_at have one element per event, in order:
--   p_parts          the event's stream, as an index into p_streams (from 1)
-- p_key              the idempotency key, or null
-- p_lock_timeout_ms  how long to wait for the ordering lock; 0 waits for ever
-- p_durable          whether to turn `synchronous_commit` on for this transaction if it is off
--
-- Gives rows and raises nothing for what a caller can expect, so that the caller's transaction stays usable. `status`:
--   appended, repeated  one row per stream that got events, in order: stream, first_version, last_version,
--                       first_position, recorded_at
--   conflict            stream; last_version is the stream's version
--   id_reused           detail is the event id
--   key_reused          detail is the key
--   busy                detail is what was waited for and who holds it
--   isolation           detail is the caller's isolation level
--
-- Locks: the ordering lock (advisory, this schema's) to the end of the transaction. Everything that decides is read
-- after it was had, each statement by a snapshot of its own; a transaction at REPEATABLE READ or above would
-- see what was there before, and is refused.
CREATE FUNCTION {schema}.append(
    p_streams         text[],
    p_categories      text[],
    p_expected        bigint[],
    p_decided_after   uuid[],
    p_offsets         integer[],
    p_counts          integer[],
    p_parts           integer[],
    p_ids             uuid[],
    p_types           text[],
    p_payloads        text[],
    p_metadata        text[],
    p_occurred_at     timestamp with time zone[],
    p_key             text,
    p_lock_timeout_ms integer,
    p_durable         boolean
) RETURNS TABLE (
    status         text,
    stream         text,
    first_version  bigint,
    last_version   bigint,
    first_position bigint,
    recorded_at    timestamp with time zone,
    detail         text
)
LANGUAGE plpgsql
VOLATILE
-- Every name below is qualified, and nobody can slip in another `=` or `max`.
SET search_path = pg_catalog, pg_temp
-- Restored at the end, so that a caller keeps its own.
SET lock_timeout = 0
-- One plan for ever, made perhaps when the log was empty. The subqueries with LIMIT 1 make it one that looks up
-- indexes, whatever the planner knew.
SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
    -- The class of the lock is this library's; the object is the schema, whatever it is called later.
    c_lock_class CONSTANT integer := 1702064993;
    v_lock_object         integer := '{schema}'::regnamespace::oid::integer;
    v_found               bigint;
    v_found_id            uuid;
    v_first               bigint;
    v_last                bigint;
    v_same                bigint;
    v_failed              integer;
    v_versions            bigint[];
    v_head                bigint;
    v_recorded_at         timestamp with time zone;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RETURN QUERY SELECT 'isolation', NULL::text, NULL::bigint, NULL::bigint, NULL::bigint,
                            NULL::timestamp with time zone, current_setting('transaction_isolation');
        RETURN;
    END IF;

    IF p_durable AND current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    -- The lock. The first attempt costs no subtransaction; it does not overtake those who wait.
    IF NOT pg_try_advisory_xact_lock(c_lock_class, v_lock_object) THEN
        BEGIN
            PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);
            PERFORM pg_advisory_xact_lock(c_lock_class, v_lock_object);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            RETURN QUERY
                SELECT 'busy', NULL::text, NULL::bigint, NULL::bigint, NULL::bigint, NULL::timestamp with time zone,
                       coalesce(
                           (SELECT format('the ordering lock is held by process %s (application %L, state %s, in a transaction for %s ms)',
                                          l.pid, coalesce(a.application_name, '?'), coalesce(a.state, '?'),
                                          coalesce(round(extract(epoch FROM clock_timestamp() - a.xact_start) * 1000)::text, '?'))
                            FROM pg_locks l
                            LEFT JOIN pg_stat_activity a ON a.pid = l.pid
                            WHERE l.locktype = 'advisory'
                              AND l.granted
                              AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                              AND l.classid = c_lock_class::oid
                              AND l.objid = v_lock_object::oid
                              AND l.objsubid = 2
                            LIMIT 1),
                           'the ordering lock, which has been released since');
            RETURN;
        END;
    END IF;

    -- 1. The event ids: a repeated append is the earlier one.
    SELECT e.position, e.event_id
    INTO v_found, v_found_id
    FROM unnest(p_ids) WITH ORDINALITY AS i (id, n)
    CROSS JOIN LATERAL (
        SELECT o.position, o.event_id
        FROM {schema}.events o
        WHERE o.event_id = i.id
        LIMIT 1
    ) AS e
    ORDER BY i.n
    LIMIT 1;

    IF FOUND THEN
        v_first := v_found;
        -- In the same place: at consecutive positions, in the order given.
        SELECT count(*)
        INTO v_same
        FROM unnest(p_parts, p_ids, p_types, p_payloads, p_metadata, p_occurred_at)
             WITH ORDINALITY AS i (part, id, type, payload, metadata, occurred_at, n)
        CROSS JOIN LATERAL (
            SELECT o.event_id, o.stream, o.type, o.payload, o.metadata, o.occurred_at
            FROM {schema}.events o
            WHERE o.position = v_first + i.n - 1
            LIMIT 1
        ) AS e
        WHERE e.event_id = i.id
          AND e.stream = p_streams[i.part]
          AND e.type = i.type
          AND e.payload::text = i.payload
          AND e.metadata::text = i.metadata
          AND e.occurred_at IS NOT DISTINCT FROM i.occurred_at;
        IF v_same <> cardinality(p_ids) THEN
            RETURN QUERY SELECT 'id_reused', NULL::text, NULL::bigint, NULL::bigint, NULL::bigint,
                                NULL::timestamp with time zone, v_found_id::text;
            RETURN;
        END IF;
        v_last := v_first + cardinality(p_ids) - 1;
    -- 2. The key: it takes effect once.
    ELSIF p_key IS NOT NULL THEN
        SELECT a.first_position, a.last_position
        INTO v_first, v_last
        FROM {schema}.appends a
        WHERE a.key = p_key;
        IF EXISTS (SELECT
                   FROM {schema}.events e
                   WHERE e.position BETWEEN v_first AND v_last AND e.stream <> ALL (p_streams)) THEN
            RETURN QUERY SELECT 'key_reused', NULL::text, NULL::bigint, NULL::bigint, NULL::bigint,
                                NULL::timestamp with time zone, p_key;
            RETURN;
        END IF;
    END IF;

    IF v_first IS NOT NULL THEN
        RETURN QUERY
            SELECT 'repeated', e.stream::text, min(e.version), max(e.version), min(e.position), min(e.recorded_at), NULL::text
            FROM {schema}.events e
            WHERE e.position BETWEEN v_first AND v_last
            GROUP BY e.stream
            ORDER BY min(e.position);
        RETURN;
    END IF;

    -- 3. The expected versions.
    SELECT array_agg(coalesce(last.version, 0) ORDER BY s.n),
           min(s.n) FILTER (WHERE NOT (
               CASE s.expected
                   WHEN -2 THEN true
                   WHEN -1 THEN last.version IS NOT NULL
                   ELSE coalesce(last.version, 0) = s.expected
               END
               AND (s.decided_after IS NULL OR coalesce(s.decided_after = last.event_id, false))))
    INTO v_versions, v_failed
    FROM unnest(p_streams, p_expected, p_decided_after) WITH ORDINALITY AS s (stream, expected, decided_after, n)
    LEFT JOIN LATERAL (
        SELECT e.version, e.event_id
        FROM {schema}.events e
        WHERE e.stream = s.stream
        ORDER BY e.version DESC
        LIMIT 1
    ) AS last ON true;

    IF v_failed IS NOT NULL THEN
        RETURN QUERY SELECT 'conflict', p_streams[v_failed], NULL::bigint, v_versions[v_failed], NULL::bigint,
                            NULL::timestamp with time zone, NULL::text;
        RETURN;
    END IF;

    -- 4. The head, and a time that does not go back.
    SELECT greatest(f.position, last.position), greatest(f.recorded_at, last.recorded_at, clock_timestamp())
    INTO STRICT v_head, v_recorded_at
    FROM {schema}.log_floor f
    LEFT JOIN LATERAL (
        SELECT e.position, e.recorded_at
        FROM {schema}.events e
        ORDER BY e.position DESC
        LIMIT 1
    ) AS last ON true;

    INSERT INTO {schema}.events
        (position, version, recorded_at, occurred_at, event_id, payload_bytes, category, stream, type, metadata, payload)
    SELECT v_head + i.n,
           v_versions[i.part] + i.n - p_offsets[i.part],
           v_recorded_at,
           i.occurred_at,
           i.id,
           octet_length(i.payload),
           p_categories[i.part],
           p_streams[i.part],
           i.type,
           i.metadata::json,
           i.payload::json
    FROM unnest(p_parts, p_ids, p_types, p_payloads, p_metadata, p_occurred_at)
         WITH ORDINALITY AS i (part, id, type, payload, metadata, occurred_at, n);

    IF p_key IS NOT NULL THEN
        INSERT INTO {schema}.appends (key, first_position, last_position)
        VALUES (p_key, v_head + 1, v_head + cardinality(p_ids));
    END IF;

    RETURN QUERY
        SELECT 'appended', s.stream, s.version + 1, s.version + s.count, v_head + s.skip + 1, v_recorded_at, NULL::text
        FROM unnest(p_streams, v_versions, p_offsets, p_counts) WITH ORDINALITY AS s (stream, version, skip, count, n)
        WHERE s.count > 0
        ORDER BY s.n;
END
$function$;
