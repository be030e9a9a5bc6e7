-- What the migrations make, as the catalogs say it. Written by a test: ES_UPDATE_GOLDEN=1 cargo xtask test.

TABLE appends
    key text COLLATE "C" NOT NULL
    first_position bigint NOT NULL
    last_position bigint NOT NULL
    CONSTRAINT appends_pkey PRIMARY KEY (key)
TABLE checkpoints WITH (fillfactor=10)
    consumer text COLLATE "C" NOT NULL
    position bigint NOT NULL
    updated_at timestamp with time zone NOT NULL
    CONSTRAINT checkpoints_pkey PRIMARY KEY (consumer)
    CONSTRAINT checkpoints_position_check CHECK (("position" >= 0))
TABLE es_migrations
    version integer NOT NULL
    name text NOT NULL
    checksum text NOT NULL
    applied_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    CONSTRAINT es_migrations_pkey PRIMARY KEY (version)
TABLE events
    position bigint NOT NULL
    version bigint NOT NULL
    recorded_at timestamp with time zone NOT NULL
    occurred_at timestamp with time zone
    event_id uuid NOT NULL
    payload_bytes integer NOT NULL
    category text COLLATE "C" NOT NULL
    stream text COLLATE "C" NOT NULL
    type text COLLATE "C" NOT NULL
    metadata json NOT NULL
    payload json NOT NULL
    CONSTRAINT events_event_id_key UNIQUE (event_id)
    CONSTRAINT events_pkey PRIMARY KEY ("position")
    CONSTRAINT events_position_check CHECK (("position" > 0))
    CONSTRAINT events_stream_version_key UNIQUE (stream, version)
    CONSTRAINT events_version_check CHECK ((version > 0))
TABLE log_floor
    is_only boolean NOT NULL DEFAULT true
    position bigint NOT NULL
    recorded_at timestamp with time zone NOT NULL
    CONSTRAINT log_floor_is_only_check CHECK (is_only)
    CONSTRAINT log_floor_pkey PRIMARY KEY (is_only)
TABLE snapshots
    stream text COLLATE "C" NOT NULL
    version bigint NOT NULL
    last_event uuid NOT NULL
    fingerprint text NOT NULL
    state json NOT NULL
    saved_at timestamp with time zone NOT NULL
    CONSTRAINT snapshots_pkey PRIMARY KEY (stream)
CREATE UNIQUE INDEX appends_pkey ON es.appends USING btree (key)
CREATE UNIQUE INDEX checkpoints_pkey ON es.checkpoints USING btree (consumer)
CREATE UNIQUE INDEX es_migrations_pkey ON es.es_migrations USING btree (version)
CREATE INDEX events_category_position_idx ON es.events USING btree (category, "position")
CREATE UNIQUE INDEX events_event_id_key ON es.events USING btree (event_id)
CREATE UNIQUE INDEX events_pkey ON es.events USING btree ("position")
CREATE UNIQUE INDEX events_stream_version_key ON es.events USING btree (stream, version)
CREATE UNIQUE INDEX log_floor_pkey ON es.log_floor USING btree (is_only)
CREATE UNIQUE INDEX snapshots_pkey ON es.snapshots USING btree (stream)
CREATE OR REPLACE FUNCTION es.append(p_streams text[], p_categories text[], p_expected bigint[], p_decided_after uuid[], p_offsets integer[], p_counts integer[], p_parts integer[], p_ids uuid[], p_types text[], p_payloads text[], p_metadata text[], p_occurred_at timestamp with time zone[], p_key text, p_lock_timeout_ms integer, p_durable boolean)
 RETURNS TABLE(status text, stream text, first_version bigint, last_version bigint, first_position bigint, recorded_at timestamp with time zone, detail text)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '0'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
#variable_conflict use_column
DECLARE
    -- The class of the lock is this library's; the object is the schema, whatever it is called later.
    c_lock_class CONSTANT integer := 1702064993;
    v_lock_object         integer := 'es'::regnamespace::oid::integer;
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
        FROM es.events o
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
            FROM es.events o
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
        FROM es.appends a
        WHERE a.key = p_key;
        IF EXISTS (SELECT
                   FROM es.events e
                   WHERE e.position BETWEEN v_first AND v_last AND e.stream <> ALL (p_streams)) THEN
            RETURN QUERY SELECT 'key_reused', NULL::text, NULL::bigint, NULL::bigint, NULL::bigint,
                                NULL::timestamp with time zone, p_key;
            RETURN;
        END IF;
    END IF;

    IF v_first IS NOT NULL THEN
        RETURN QUERY
            SELECT 'repeated', e.stream::text, min(e.version), max(e.version), min(e.position), min(e.recorded_at), NULL::text
            FROM es.events e
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
        FROM es.events e
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
    FROM es.log_floor f
    LEFT JOIN LATERAL (
        SELECT e.position, e.recorded_at
        FROM es.events e
        ORDER BY e.position DESC
        LIMIT 1
    ) AS last ON true;

    INSERT INTO es.events
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
        INSERT INTO es.appends (key, first_position, last_position)
        VALUES (p_key, v_head + 1, v_head + cardinality(p_ids));
    END IF;

    RETURN QUERY
        SELECT 'appended', s.stream, s.version + 1, s.version + s.count, v_head + s.skip + 1, v_recorded_at, NULL::text
        FROM unnest(p_streams, v_versions, p_offsets, p_counts) WITH ORDINALITY AS s (stream, version, skip, count, n)
        WHERE s.count > 0
        ORDER BY s.n;
END
$function$
CREATE OR REPLACE FUNCTION es.move_checkpoint(p_consumer text, p_from bigint, p_to bigint)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_actual bigint;
BEGIN
    LOOP
        UPDATE es.checkpoints c
        SET position = p_to, updated_at = clock_timestamp()
        WHERE c.consumer = p_consumer AND c.position = p_from;
        IF FOUND THEN
            RETURN NULL;
        END IF;

        IF p_from = 0 THEN
            INSERT INTO es.checkpoints (consumer, position, updated_at)
            VALUES (p_consumer, p_to, clock_timestamp())
            ON CONFLICT (consumer) DO NOTHING;
            IF FOUND THEN
                RETURN NULL;
            END IF;
        END IF;

        SELECT c.position INTO v_actual FROM es.checkpoints c WHERE c.consumer = p_consumer;
        IF coalesce(v_actual, 0) <> p_from THEN
            RETURN coalesce(v_actual, 0);
        END IF;
        -- It came to `p_from` between the statements: once more.
    END LOOP;
END
$function$
