-- What the migrations make, as the catalogs say it. Written by a test: ES_UPDATE_GOLDEN=1 cargo xtask test.

TABLE appends WITH (autovacuum_vacuum_insert_threshold=100000, autovacuum_vacuum_insert_scale_factor=0, autovacuum_freeze_min_age=0)
    key text COLLATE "C" NOT NULL
    first_position bigint NOT NULL
    last_position bigint NOT NULL
    request bytea NOT NULL
    CONSTRAINT appends_key_check CHECK (((octet_length(key) >= 1) AND (octet_length(key) <= 200)))
    CONSTRAINT appends_pkey PRIMARY KEY (key)
    CONSTRAINT appends_positions_check CHECK (((first_position > 0) AND (first_position <= last_position)))
TABLE blobs
    name text COLLATE "C" NOT NULL
    put_at timestamp with time zone NOT NULL
    bytes bytea NOT NULL
    CONSTRAINT blobs_pkey PRIMARY KEY (name)
TABLE checkpoints WITH (fillfactor=10)
    consumer text COLLATE "C" NOT NULL
    position bigint NOT NULL
    updated_at timestamp with time zone NOT NULL
    is_frozen boolean NOT NULL DEFAULT false
    slot_offsets text
    partition_epoch bigint NOT NULL DEFAULT 0
    event_id uuid
    slot_offsets_event_id uuid
    CONSTRAINT checkpoints_pkey PRIMARY KEY (consumer)
    CONSTRAINT checkpoints_position_check CHECK (("position" >= 0))
TABLE dead_letter_edits
    id bigint NOT NULL
    dead_letter_id bigint NOT NULL
    at timestamp with time zone NOT NULL
    by text NOT NULL
    reason text
    headers json NOT NULL
    body bytea NOT NULL
    CONSTRAINT dead_letter_edits_pkey PRIMARY KEY (id)
TABLE dead_letter_totals
    consumer text COLLATE "C" NOT NULL
    ever bigint NOT NULL
    CONSTRAINT dead_letter_totals_pkey PRIMARY KEY (consumer)
TABLE dead_letters
    id bigint NOT NULL
    consumer text COLLATE "C" NOT NULL
    identity text COLLATE "C" NOT NULL
    message_id text COLLATE "C" NOT NULL
    message_type text COLLATE "C"
    topic text NOT NULL
    key text COLLATE "C"
    reason text COLLATE "C" NOT NULL
    error text NOT NULL
    attempts bigint NOT NULL
    since timestamp with time zone NOT NULL
    is_retry_requested boolean NOT NULL
    headers json NOT NULL
    body bytea NOT NULL
    CONSTRAINT dead_letters_identity_key UNIQUE (consumer, identity)
    CONSTRAINT dead_letters_pkey PRIMARY KEY (id)
TABLE es_migrations
    version integer NOT NULL
    name text NOT NULL
    checksum text NOT NULL
    applied_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()
    CONSTRAINT es_migrations_pkey PRIMARY KEY (version)
TABLE events WITH (autovacuum_vacuum_insert_threshold=100000, autovacuum_vacuum_insert_scale_factor=0, autovacuum_freeze_min_age=0)
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
TABLE generations
    consumer text COLLATE "C" NOT NULL
    generation bigint NOT NULL
    state text NOT NULL
    code_version bigint NOT NULL
    tables text[] NOT NULL
    created_at timestamp with time zone NOT NULL
    builder text
    building_since timestamp with time zone
    building_renewed timestamp with time zone
    building_until timestamp with time zone
    CONSTRAINT generations_generation_check CHECK ((generation > 0))
    CONSTRAINT generations_pkey PRIMARY KEY (consumer, generation)
    CONSTRAINT generations_state_check CHECK ((state = ANY (ARRAY['building'::text, 'live'::text, 'retired'::text])))
TABLE inbox_0
    consumer text COLLATE "C" NOT NULL
    id text COLLATE "C" NOT NULL
    content bigint NOT NULL
    CONSTRAINT inbox_0_pkey PRIMARY KEY (consumer, id)
TABLE inbox_1
    consumer text COLLATE "C" NOT NULL
    id text COLLATE "C" NOT NULL
    content bigint NOT NULL
    CONSTRAINT inbox_1_pkey PRIMARY KEY (consumer, id)
TABLE inbox_2
    consumer text COLLATE "C" NOT NULL
    id text COLLATE "C" NOT NULL
    content bigint NOT NULL
    CONSTRAINT inbox_2_pkey PRIMARY KEY (consumer, id)
TABLE inbox_3
    consumer text COLLATE "C" NOT NULL
    id text COLLATE "C" NOT NULL
    content bigint NOT NULL
    CONSTRAINT inbox_3_pkey PRIMARY KEY (consumer, id)
TABLE inbox_ring
    partition smallint NOT NULL
    opened_at timestamp with time zone
    closed_at timestamp with time zone
    CONSTRAINT inbox_ring_partition_check CHECK (((partition >= 0) AND (partition <= 3)))
    CONSTRAINT inbox_ring_pkey PRIMARY KEY (partition)
    CONSTRAINT inbox_ring_times_check CHECK (((closed_at IS NULL) OR (opened_at IS NOT NULL)))
TABLE leases WITH (fillfactor=10)
    consumer text COLLATE "C" NOT NULL
    fence bigint NOT NULL
    owner text
    since timestamp with time zone
    renewed timestamp with time zone
    until timestamp with time zone
    seized boolean NOT NULL DEFAULT false
    CONSTRAINT leases_pkey PRIMARY KEY (consumer)
TABLE log_floor
    is_only boolean NOT NULL DEFAULT true
    position bigint NOT NULL
    recorded_at timestamp with time zone NOT NULL
    is_pipelined boolean NOT NULL DEFAULT false
    CONSTRAINT log_floor_is_only_check CHECK (is_only)
    CONSTRAINT log_floor_pkey PRIMARY KEY (is_only)
    CONSTRAINT log_floor_recorded_at_check CHECK ((recorded_at < to_timestamp(('253402300800'::bigint)::double precision)))
TABLE members WITH (fillfactor=10)
    consumer text COLLATE "C" NOT NULL
    member text COLLATE "C" NOT NULL
    renewed timestamp with time zone NOT NULL
    until timestamp with time zone NOT NULL
    CONSTRAINT members_pkey PRIMARY KEY (consumer, member)
TABLE operations
    id bigint NOT NULL
    at timestamp with time zone NOT NULL
    kind text NOT NULL
    consumer text COLLATE "C" NOT NULL
    generation bigint NOT NULL
    from_position bigint
    to_position bigint
    requested_by text NOT NULL
    reason text
    CONSTRAINT operations_pkey PRIMARY KEY (id)
TABLE outbox
    slot smallint NOT NULL
    xid xid8 NOT NULL
    seq bigint NOT NULL
    enqueued_at timestamp with time zone NOT NULL
    available_at timestamp with time zone
    topic text NOT NULL
    key text
    headers json NOT NULL
    body bytea NOT NULL
TABLE outbox_0 WITH (autovacuum_enabled=false)
    slot smallint NOT NULL
    xid xid8 NOT NULL
    seq bigint NOT NULL
    enqueued_at timestamp with time zone NOT NULL
    available_at timestamp with time zone
    topic text NOT NULL
    key text
    headers json NOT NULL
    body bytea NOT NULL
TABLE outbox_1 WITH (autovacuum_enabled=false)
    slot smallint NOT NULL
    xid xid8 NOT NULL
    seq bigint NOT NULL
    enqueued_at timestamp with time zone NOT NULL
    available_at timestamp with time zone
    topic text NOT NULL
    key text
    headers json NOT NULL
    body bytea NOT NULL
TABLE outbox_2 WITH (autovacuum_enabled=false)
    slot smallint NOT NULL
    xid xid8 NOT NULL
    seq bigint NOT NULL
    enqueued_at timestamp with time zone NOT NULL
    available_at timestamp with time zone
    topic text NOT NULL
    key text
    headers json NOT NULL
    body bytea NOT NULL
TABLE outbox_3 WITH (autovacuum_enabled=false)
    slot smallint NOT NULL
    xid xid8 NOT NULL
    seq bigint NOT NULL
    enqueued_at timestamp with time zone NOT NULL
    available_at timestamp with time zone
    topic text NOT NULL
    key text
    headers json NOT NULL
    body bytea NOT NULL
TABLE outbox_4 WITH (autovacuum_enabled=false)
    slot smallint NOT NULL
    xid xid8 NOT NULL
    seq bigint NOT NULL
    enqueued_at timestamp with time zone NOT NULL
    available_at timestamp with time zone
    topic text NOT NULL
    key text
    headers json NOT NULL
    body bytea NOT NULL
TABLE outbox_5 WITH (autovacuum_enabled=false)
    slot smallint NOT NULL
    xid xid8 NOT NULL
    seq bigint NOT NULL
    enqueued_at timestamp with time zone NOT NULL
    available_at timestamp with time zone
    topic text NOT NULL
    key text
    headers json NOT NULL
    body bytea NOT NULL
TABLE outbox_6 WITH (autovacuum_enabled=false)
    slot smallint NOT NULL
    xid xid8 NOT NULL
    seq bigint NOT NULL
    enqueued_at timestamp with time zone NOT NULL
    available_at timestamp with time zone
    topic text NOT NULL
    key text
    headers json NOT NULL
    body bytea NOT NULL
TABLE outbox_7 WITH (autovacuum_enabled=false)
    slot smallint NOT NULL
    xid xid8 NOT NULL
    seq bigint NOT NULL
    enqueued_at timestamp with time zone NOT NULL
    available_at timestamp with time zone
    topic text NOT NULL
    key text
    headers json NOT NULL
    body bytea NOT NULL
TABLE outbox_current WITH (fillfactor=10)
    slot smallint NOT NULL
TABLE outbox_delayed
    id bigint NOT NULL
    available_at timestamp with time zone NOT NULL
    topic text NOT NULL
    key text
    headers json NOT NULL
    body bytea NOT NULL
    CONSTRAINT outbox_delayed_pkey PRIMARY KEY (id)
TABLE outbox_progress WITH (autovacuum_enabled=false)
    id bigint NOT NULL
    tick_id bigint NOT NULL
    before pg_snapshot NOT NULL
    before_floor bigint NOT NULL
    tick pg_snapshot NOT NULL
    tick_floor bigint NOT NULL
    ceiling bigint NOT NULL
    given bigint NOT NULL
    next_floor bigint NOT NULL
    server text
    CONSTRAINT outbox_progress_pkey PRIMARY KEY (id)
TABLE parked_events
    consumer text COLLATE "C" NOT NULL
    key text COLLATE "C" NOT NULL
    position bigint NOT NULL
    parked_at timestamp with time zone NOT NULL
    edited json
    event_id uuid
    CONSTRAINT parked_events_pkey PRIMARY KEY (consumer, key, "position")
TABLE parked_keys
    consumer text COLLATE "C" NOT NULL
    key text COLLATE "C" NOT NULL
    events bigint NOT NULL
    parked_at timestamp with time zone NOT NULL
    first_error text NOT NULL
    last_error text NOT NULL
    attempts bigint NOT NULL
    tried_at timestamp with time zone NOT NULL
    retry_at timestamp with time zone
    retry_by text
    retry_reason text
    CONSTRAINT parked_keys_pkey PRIMARY KEY (consumer, key)
TABLE parking_history
    id bigint NOT NULL
    at timestamp with time zone NOT NULL
    consumer text COLLATE "C" NOT NULL
    key text COLLATE "C" NOT NULL
    position bigint
    action text NOT NULL
    by text NOT NULL
    reason text
    payload json
    CONSTRAINT parking_history_pkey PRIMARY KEY (id)
TABLE records WITH (fillfactor=70)
    key text COLLATE "C" NOT NULL
    value json NOT NULL
    revision uuid NOT NULL
    changed_at timestamp with time zone NOT NULL
    CONSTRAINT records_pkey PRIMARY KEY (key)
TABLE snapshots
    stream text COLLATE "C" NOT NULL
    aggregate text COLLATE "C" NOT NULL
    version bigint NOT NULL
    last_event uuid NOT NULL
    fingerprint text NOT NULL
    state json NOT NULL
    saved_at timestamp with time zone NOT NULL
    CONSTRAINT snapshots_pkey PRIMARY KEY (stream, aggregate)
TABLE suspensions
    consumer text COLLATE "C" NOT NULL
    kind text COLLATE "C" NOT NULL
    suspended_by text NOT NULL
    since timestamp with time zone NOT NULL
    reason text
    CONSTRAINT suspensions_kind_check CHECK ((kind = ANY (ARRAY['paused'::text, 'disabled'::text])))
    CONSTRAINT suspensions_pkey PRIMARY KEY (consumer, kind)
CREATE TRIGGER appends_are_appended BEFORE INSERT ON es.appends FOR EACH STATEMENT WHEN ((current_setting('es.is_append'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION es.refuse_change_of_log()
CREATE TRIGGER appends_are_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON es.appends FOR EACH STATEMENT EXECUTE FUNCTION es.refuse_change_of_log()
CREATE UNIQUE INDEX appends_pkey ON es.appends USING btree (key)
CREATE UNIQUE INDEX blobs_pkey ON es.blobs USING btree (name)
CREATE INDEX blobs_put_at_idx ON es.blobs USING btree (put_at)
CREATE UNIQUE INDEX checkpoints_pkey ON es.checkpoints USING btree (consumer)
CREATE INDEX dead_letter_edits_dead_letter_idx ON es.dead_letter_edits USING btree (dead_letter_id, id)
CREATE UNIQUE INDEX dead_letter_edits_pkey ON es.dead_letter_edits USING btree (id)
CREATE UNIQUE INDEX dead_letter_totals_pkey ON es.dead_letter_totals USING btree (consumer)
CREATE UNIQUE INDEX dead_letters_identity_key ON es.dead_letters USING btree (consumer, identity)
CREATE UNIQUE INDEX dead_letters_pkey ON es.dead_letters USING btree (id)
CREATE INDEX dead_letters_retry_requested_idx ON es.dead_letters USING btree (consumer, id) WHERE is_retry_requested
CREATE INDEX dead_letters_since_idx ON es.dead_letters USING btree (consumer, since)
CREATE UNIQUE INDEX es_migrations_pkey ON es.es_migrations USING btree (version)
CREATE TRIGGER events_are_appended BEFORE INSERT ON es.events FOR EACH STATEMENT WHEN ((current_setting('es.is_append'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION es.refuse_change_of_log()
CREATE TRIGGER events_are_kept BEFORE DELETE OR UPDATE OR TRUNCATE ON es.events FOR EACH STATEMENT EXECUTE FUNCTION es.refuse_change_of_log()
CREATE INDEX events_category_position_idx ON es.events USING btree (category, "position")
CREATE UNIQUE INDEX events_event_id_key ON es.events USING btree (event_id)
CREATE UNIQUE INDEX events_pkey ON es.events USING btree ("position")
CREATE UNIQUE INDEX events_stream_version_key ON es.events USING btree (stream, version)
CREATE UNIQUE INDEX generations_building_idx ON es.generations USING btree (consumer) WHERE (state = 'building'::text)
CREATE UNIQUE INDEX generations_live_idx ON es.generations USING btree (consumer) WHERE (state = 'live'::text)
CREATE UNIQUE INDEX generations_pkey ON es.generations USING btree (consumer, generation)
CREATE UNIQUE INDEX inbox_0_pkey ON es.inbox_0 USING btree (consumer, id)
CREATE UNIQUE INDEX inbox_1_pkey ON es.inbox_1 USING btree (consumer, id)
CREATE UNIQUE INDEX inbox_2_pkey ON es.inbox_2 USING btree (consumer, id)
CREATE UNIQUE INDEX inbox_3_pkey ON es.inbox_3 USING btree (consumer, id)
CREATE UNIQUE INDEX inbox_ring_open_idx ON es.inbox_ring USING btree ((true)) WHERE ((opened_at IS NOT NULL) AND (closed_at IS NULL))
CREATE UNIQUE INDEX inbox_ring_pkey ON es.inbox_ring USING btree (partition)
CREATE UNIQUE INDEX leases_pkey ON es.leases USING btree (consumer)
CREATE TRIGGER log_floor_is_kept BEFORE INSERT OR DELETE OR TRUNCATE ON es.log_floor FOR EACH STATEMENT EXECUTE FUNCTION es.refuse_change_of_log()
CREATE TRIGGER log_floor_rises BEFORE UPDATE ON es.log_floor FOR EACH ROW EXECUTE FUNCTION es.check_log_floor()
CREATE UNIQUE INDEX log_floor_pkey ON es.log_floor USING btree (is_only)
CREATE UNIQUE INDEX members_pkey ON es.members USING btree (consumer, member)
CREATE INDEX operations_consumer_idx ON es.operations USING btree (consumer, id)
CREATE UNIQUE INDEX operations_pkey ON es.operations USING btree (id)
CREATE INDEX outbox_0_seq_idx ON es.outbox_0 USING btree (seq)
CREATE INDEX outbox_0_xid_seq_idx ON es.outbox_0 USING btree (xid, seq)
CREATE INDEX outbox_1_seq_idx ON es.outbox_1 USING btree (seq)
CREATE INDEX outbox_1_xid_seq_idx ON es.outbox_1 USING btree (xid, seq)
CREATE INDEX outbox_2_seq_idx ON es.outbox_2 USING btree (seq)
CREATE INDEX outbox_2_xid_seq_idx ON es.outbox_2 USING btree (xid, seq)
CREATE INDEX outbox_3_seq_idx ON es.outbox_3 USING btree (seq)
CREATE INDEX outbox_3_xid_seq_idx ON es.outbox_3 USING btree (xid, seq)
CREATE INDEX outbox_4_seq_idx ON es.outbox_4 USING btree (seq)
CREATE INDEX outbox_4_xid_seq_idx ON es.outbox_4 USING btree (xid, seq)
CREATE INDEX outbox_5_seq_idx ON es.outbox_5 USING btree (seq)
CREATE INDEX outbox_5_xid_seq_idx ON es.outbox_5 USING btree (xid, seq)
CREATE INDEX outbox_6_seq_idx ON es.outbox_6 USING btree (seq)
CREATE INDEX outbox_6_xid_seq_idx ON es.outbox_6 USING btree (xid, seq)
CREATE INDEX outbox_7_seq_idx ON es.outbox_7 USING btree (seq)
CREATE INDEX outbox_7_xid_seq_idx ON es.outbox_7 USING btree (xid, seq)
CREATE INDEX outbox_delayed_available_idx ON es.outbox_delayed USING btree (available_at, id)
CREATE UNIQUE INDEX outbox_delayed_pkey ON es.outbox_delayed USING btree (id)
CREATE UNIQUE INDEX outbox_progress_pkey ON es.outbox_progress USING btree (id)
CREATE UNIQUE INDEX parked_events_pkey ON es.parked_events USING btree (consumer, key, "position")
CREATE UNIQUE INDEX parked_keys_pkey ON es.parked_keys USING btree (consumer, key)
CREATE INDEX parked_keys_retry_requested_idx ON es.parked_keys USING btree (consumer, retry_at) WHERE (retry_at IS NOT NULL)
CREATE INDEX parking_history_consumer_idx ON es.parking_history USING btree (consumer, id)
CREATE UNIQUE INDEX parking_history_pkey ON es.parking_history USING btree (id)
CREATE UNIQUE INDEX records_pkey ON es.records USING btree (key)
CREATE UNIQUE INDEX snapshots_pkey ON es.snapshots USING btree (stream, aggregate)
CREATE UNIQUE INDEX suspensions_pkey ON es.suspensions USING btree (consumer, kind)
CREATE OR REPLACE FUNCTION es.adopt_outbox()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    p      es.outbox_progress;
    v_slot smallint;
BEGIN
    SELECT * INTO p FROM es.outbox_progress r ORDER BY r.id DESC LIMIT 1;
    IF NOT es.outbox_is_foreign(p) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(1702064997, hashtext('es#outbox'));
    SELECT * INTO p FROM es.outbox_progress r ORDER BY r.id DESC LIMIT 1;
    IF NOT es.outbox_is_foreign(p) THEN
        RETURN;
    END IF;
    SELECT p.id + 1, es.next_tick(p.tick_id), s.now, 0, s.now, 0, 0, 0, 0, es.outbox_server()
    INTO p
    FROM (SELECT pg_current_snapshot() AS now) s;
    SELECT c.slot INTO v_slot FROM es.outbox_current c;
    WITH moved AS (
        DELETE FROM es.outbox o RETURNING o.*
    )
    INSERT INTO es.outbox (slot, xid, seq, enqueued_at, available_at, topic, key, headers, body)
    SELECT v_slot, pg_current_xact_id(), nextval('es.outbox_seq'), m.enqueued_at, m.available_at, m.topic, m.key, m.headers,
           m.body
    FROM (SELECT * FROM moved ORDER BY moved.seq) m;
    INSERT INTO es.outbox_progress SELECT p.*;
END
$function$
CREATE OR REPLACE FUNCTION es.append(p_keys text[], p_appends integer[], p_streams text[], p_categories text[], p_expected bigint[], p_decided_after uuid[], p_offsets integer[], p_parts integer[], p_ids uuid[], p_types text[], p_payloads text[], p_metadata text[], p_occurred_at timestamp with time zone[], p_lock_timeout_ms integer, p_commit text, p_requests bytea[], OUT problem text, OUT detail text, OUT head bigint, OUT recorded_at timestamp with time zone, OUT versions bigint[], OUT refusals jsonb, OUT is_heard boolean, OUT has_waited boolean, OUT head_id uuid)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET "es.is_append" TO 'on'
 SET plan_cache_mode TO 'force_generic_plan'
AS $function$
#variable_conflict use_column
DECLARE
    -- The class of the lock is this library's; the object is the schema, whatever it is called later.
    c_lock_class CONSTANT integer := 1702064993;
    -- Whoever listens holds this one in its shared form.
    c_listener_class CONSTANT integer := 1702064996;
    v_lock_object         integer := 'es'::regnamespace::oid::integer;
    v_setting             text;
    v_is_known            boolean;
    v_failed_parts        integer[];
    v_found               jsonb;
    v_is_refused          boolean[];
    -- How many events before a stream's first are refused.
    v_shifts              integer[];
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        problem := 'isolation';
        detail := current_setting('transaction_isolation');
        RETURN;
    END IF;

    IF p_commit = 'unflushed' THEN
        v_setting := set_config('synchronous_commit', 'off', true);
    ELSIF p_commit = 'flushed' AND current_setting('synchronous_commit') = 'off' THEN
        v_setting := set_config('synchronous_commit', 'on', true);
    END IF;

    -- The lock. The first attempt costs no subtransaction; it does not overtake those who wait.
    has_waited := NOT pg_try_advisory_xact_lock(c_lock_class, v_lock_object);
    IF has_waited THEN
        v_setting := current_setting('lock_timeout');
        BEGIN
            PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);
            PERFORM pg_advisory_xact_lock(c_lock_class, v_lock_object);
            PERFORM set_config('lock_timeout', v_setting, true);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            problem := 'busy';
            detail := coalesce(
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

    -- Nobody listens if this can be had; it is given back with the ordering lock. Somebody who begins to listen meanwhile
    -- waits for that, and then looks at the head.
    is_heard := NOT pg_try_advisory_xact_lock(c_listener_class, v_lock_object);

    -- The shortest way, for the most frequent call: one event for a stream at a known version. One statement
    -- checks, numbers and stores; where it stores nothing, the statements below say why.
    IF array_length(p_ids, 1) = 1 AND array_length(p_streams, 1) = 1 AND p_expected[1] >= 0 AND p_keys IS NULL
        AND es.are_readable_names(p_categories[1], p_streams[1], p_types[1])
        AND es.is_readable(p_types[1], p_metadata[1], p_payloads[1], p_occurred_at[1])
    THEN
        INSERT INTO es.events AS n
            (position, version, recorded_at, occurred_at, event_id, payload_bytes, category, stream, type, metadata, payload)
        SELECT greatest(f.position, l.position) + 1,
               p_expected[1] + 1,
               greatest(f.recorded_at, l.recorded_at, clock_timestamp()),
               p_occurred_at[1],
               p_ids[1],
               octet_length(p_payloads[1]),
               p_categories[1],
               p_streams[1],
               p_types[1],
               p_metadata[1]::json,
               p_payloads[1]::json
        FROM es.log_floor f
        LEFT JOIN (SELECT e.position, e.recorded_at
                   FROM es.events e
                   ORDER BY e.position DESC
                   LIMIT 1) AS l ON true
        LEFT JOIN (SELECT e.version, e.event_id
                   FROM es.events e
                   WHERE e.stream = p_streams[1]
                   ORDER BY e.version DESC
                   LIMIT 1) AS s ON true
        WHERE coalesce(s.version, 0) = p_expected[1]
          AND (p_decided_after[1] IS NULL OR s.event_id = p_decided_after[1])
          AND NOT EXISTS (SELECT FROM es.events e WHERE e.event_id = p_ids[1] LIMIT 1)
        RETURNING n.position - 1,
                  n.recorded_at,
                  (SELECT e.event_id FROM es.events e WHERE e.position = n.position - 1 LIMIT 1)
        INTO head, recorded_at, head_id;
        IF FOUND THEN
            versions := p_expected;
            RETURN;
        END IF;
    END IF;

    -- Everything below counts on arrays that fit together: one append after the other, and of each stream one event after the
    -- other. What is left out makes a row with a null, which the tables refuse.
    IF array_lower(p_streams, 1) <> 1 OR array_lower(p_offsets, 1) <> 1 OR array_ndims(p_parts) > 1
        OR cardinality(p_appends) <> cardinality(p_streams) OR cardinality(p_offsets) <> cardinality(p_streams)
        OR array_position(p_appends, NULL) IS NOT NULL
        OR EXISTS (SELECT
                   FROM unnest(p_offsets) WITH ORDINALITY AS o (skip, n)
                   WHERE (o.skip >= CASE o.n WHEN 1 THEN 0 ELSE p_offsets[o.n - 1] END) IS NOT TRUE)
        OR EXISTS (SELECT
                   FROM unnest(p_parts) WITH ORDINALITY AS i (part, n)
                   WHERE (i.n > p_offsets[i.part]
                          AND i.n <= coalesce(p_offsets[i.part + 1], cardinality(p_ids))) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'the arguments of the function append do not fit together'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The control characters of all types at once, and the names once for each stream: a regular expression for each event costs
    -- as much as storing it.
    IF EXISTS (SELECT
               FROM unnest(p_categories, p_streams) AS s (category, stream)
               WHERE es.are_readable_names(s.category, s.stream, '') IS NOT TRUE)
        OR array_to_string(p_types, '') ~ '[\x01-\x1f\x7f-\x9f]'
        OR EXISTS (SELECT
                   FROM unnest(p_types, p_payloads, p_metadata, p_occurred_at) AS i (type, payload, metadata, occurred_at)
                   WHERE es.is_readable(i.type, i.metadata, i.payload, i.occurred_at) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'an event given to the function append cannot be read back: its names, its metadata, its time or its size'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- Everything that decides: the head, and a time that does not go back; whether an event id or a key is known;
    -- the version of each stream, and which expectations fail.
    SELECT greatest(f.position, l.position),
           CASE WHEN l.position >= f.position THEN l.event_id END,
           greatest(f.recorded_at, l.recorded_at, clock_timestamp()),
           EXISTS (SELECT
                   FROM unnest(p_ids) AS i (id)
                   CROSS JOIN LATERAL (SELECT FROM es.events o WHERE o.event_id = i.id LIMIT 1) AS e)
           OR (p_keys IS NOT NULL
               AND EXISTS (SELECT
                           FROM unnest(p_keys) AS k (key)
                           CROSS JOIN LATERAL (SELECT FROM es.appends o WHERE o.key = k.key LIMIT 1) AS a)),
           v.versions,
           v.failed
    INTO STRICT head, head_id, recorded_at, v_is_known, versions, v_failed_parts
    FROM es.log_floor f
    LEFT JOIN (SELECT e.position, e.event_id, e.recorded_at
               FROM es.events e
               ORDER BY e.position DESC
               LIMIT 1) AS l ON true
    CROSS JOIN (
        SELECT array_agg(coalesce(last.version, 0) ORDER BY s.n) AS versions,
               array_agg(s.n::integer ORDER BY s.n) FILTER (WHERE NOT (
                   CASE s.expected
                       WHEN -2 THEN true
                       WHEN -1 THEN last.version IS NOT NULL
                       ELSE coalesce(last.version, 0) = s.expected
                   END
                   AND (s.decided_after IS NULL OR coalesce(s.decided_after = last.event_id, false)))) AS failed
        FROM unnest(p_streams, p_expected, p_decided_after) WITH ORDINALITY AS s (stream, expected, decided_after, n)
        LEFT JOIN LATERAL (SELECT e.version, e.event_id
                           FROM es.events e
                           WHERE e.stream = s.stream
                           ORDER BY e.version DESC
                           LIMIT 1) AS last ON true
    ) AS v;

    IF v_is_known OR v_failed_parts IS NOT NULL THEN
        -- 1. The event ids: a repeated append is the earlier one, in the same place: at consecutive positions, in the
        -- order given.
        WITH given AS (
            SELECT p_appends[i.part] AS append,
                   i.n,
                   i.n - min(i.n) OVER (PARTITION BY p_appends[i.part]) AS place,
                   i.part, i.id, i.type, i.payload, i.metadata, i.occurred_at
            FROM unnest(p_parts, p_ids, p_types, p_payloads, p_metadata, p_occurred_at)
                 WITH ORDINALITY AS i (part, id, type, payload, metadata, occurred_at, n)
        ),
        known AS (
            SELECT g.append,
                   (array_agg(e.position ORDER BY g.n))[1] AS first,
                   (array_agg(g.id ORDER BY g.n))[1] AS id
            FROM given g
            CROSS JOIN LATERAL (SELECT o.position FROM es.events o WHERE o.event_id = g.id LIMIT 1) AS e
            GROUP BY g.append
        ),
        compared AS (
            SELECT k.append,
                   k.first,
                   k.id,
                   count(*) AS count,
                   bool_and(coalesce(e.event_id = g.id
                                     AND e.stream = p_streams[g.part]
                                     AND e.type = g.type
                                     AND e.payload::text = g.payload
                                     AND e.metadata::text = g.metadata
                                     AND e.occurred_at IS NOT DISTINCT FROM g.occurred_at, false)) AS is_same
            FROM known k
            JOIN given g ON g.append = k.append
            LEFT JOIN LATERAL (SELECT o.event_id, o.stream, o.type, o.payload, o.metadata, o.occurred_at
                               FROM es.events o
                               WHERE o.position = k.first + g.place
                               LIMIT 1) AS e ON true
            GROUP BY k.append, k.first, k.id
        )
        SELECT coalesce(jsonb_agg(
                   CASE WHEN c.is_same
                       THEN jsonb_build_object('append', c.append, 'status', 'repeated',
                                               'first', c.first, 'last', c.first + c.count - 1)
                       ELSE jsonb_build_object('append', c.append, 'status', 'id_reused', 'id', c.id)
                   END), '[]')
        INTO refusals
        FROM compared c;

        -- 2. The keys: each takes effect once.
        IF p_keys IS NOT NULL THEN
            SELECT coalesce(jsonb_agg(
                       jsonb_build_object('append', a.n,
                                          'status', CASE WHEN k.request = a.request THEN 'repeated' ELSE 'key_reused' END,
                                          'first', k.first_position, 'last', k.last_position)), '[]')
            INTO v_found
            FROM unnest(p_keys, p_requests) WITH ORDINALITY AS a (key, request, n)
            CROSS JOIN LATERAL (SELECT o.first_position, o.last_position, o.request
                                FROM es.appends o
                                WHERE o.key = a.key
                                LIMIT 1) AS k
            WHERE a.n NOT IN (SELECT (r.refusal->>'append')::bigint FROM jsonb_array_elements(refusals) AS r (refusal));
            refusals := refusals || v_found;
        END IF;

        -- 3. The expected versions: the first one of an append that fails.
        SELECT coalesce(jsonb_agg(jsonb_build_object('append', f.append, 'status', 'conflict',
                                                     'part', f.part, 'actual', versions[f.part])), '[]')
        INTO v_found
        FROM (SELECT p_appends[p.part] AS append, min(p.part) AS part
              FROM unnest(v_failed_parts) AS p (part)
              GROUP BY p_appends[p.part]) AS f
        WHERE f.append NOT IN (SELECT (r.refusal->>'append')::bigint FROM jsonb_array_elements(refusals) AS r (refusal));
        refusals := refusals || v_found;

        SELECT array_agg(s.is_refused ORDER BY s.n), array_agg(s.shift ORDER BY s.n)
        INTO v_is_refused, v_shifts
        FROM (
            SELECT w.n,
                   w.is_refused,
                   coalesce(sum(CASE WHEN w.is_refused THEN w.count ELSE 0 END)
                            OVER (ORDER BY w.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::integer AS shift
            FROM (
                SELECT o.n,
                       lead(o.skip, 1, cardinality(p_ids)) OVER (ORDER BY o.n) - o.skip AS count,
                       o.append IN (SELECT (r.refusal->>'append')::bigint
                                    FROM jsonb_array_elements(refusals) AS r (refusal)) AS is_refused
                FROM unnest(p_appends, p_offsets) WITH ORDINALITY AS o (append, skip, n)
            ) AS w
        ) AS s;
    END IF;

    INSERT INTO es.events
        (position, version, recorded_at, occurred_at, event_id, payload_bytes, category, stream, type, metadata, payload)
    SELECT head + i.n - coalesce(v_shifts[i.part], 0),
           versions[i.part] + i.n - p_offsets[i.part],
           recorded_at,
           i.occurred_at,
           i.id,
           octet_length(i.payload),
           p_categories[i.part],
           p_streams[i.part],
           i.type,
           i.metadata::json,
           i.payload::json
    FROM unnest(p_parts, p_ids, p_types, p_payloads, p_metadata, p_occurred_at)
         WITH ORDINALITY AS i (part, id, type, payload, metadata, occurred_at, n)
    WHERE v_is_refused IS NULL OR NOT v_is_refused[i.part];

    IF p_keys IS NOT NULL THEN
        INSERT INTO es.appends (key, first_position, last_position, request)
        SELECT p_keys[i.append], min(i.position), max(i.position), p_requests[i.append]
        FROM (SELECT p_appends[e.part] AS append, head + e.n - coalesce(v_shifts[e.part], 0) AS position
              FROM unnest(p_parts) WITH ORDINALITY AS e (part, n)
              WHERE v_is_refused IS NULL OR NOT v_is_refused[e.part]) AS i
        WHERE p_keys[i.append] IS NOT NULL
        GROUP BY i.append;
    END IF;
END
$function$
CREATE OR REPLACE FUNCTION es.are_readable_names(category text, stream text, types text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN (((octet_length(category) >= 1) AND (octet_length(category) <= 64)) AND (((octet_length(stream) - strpos(stream, '/'::text)) >= 1) AND ((octet_length(stream) - strpos(stream, '/'::text)) <= 200)) AND ((((strpos(stream, '/'::text) - 1) - octet_length(category)) >= 0) AND (((strpos(stream, '/'::text) - 1) - octet_length(category)) <= 65)) AND ((stream || types) ~ '^([A-Za-z0-9_.-]+@)?[A-Za-z0-9_.-]+/[^\x01-\x1f\x7f-\x9f]+$'::text) AND (starts_with(stream, (category || '/'::text)) OR (split_part(split_part(stream, '/'::text, 1), '@'::text, 2) = category)))
CREATE OR REPLACE FUNCTION es.change_parked(p_consumer text, p_keys text[], p_positions bigint[], p_errors text[], p_attempts bigint[], p_gone_keys text[], p_gone_positions bigint[])
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_known text[];
    v_lost  text;
BEGIN
    INSERT INTO es.parked_keys
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
        FROM es.parked_keys k
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
        INSERT INTO es.parked_events (consumer, key, position, parked_at, event_id)
        SELECT p_consumer, p.key, p.position, clock_timestamp(), es.event_at(p.position)
        FROM unnest(p_keys, p_positions) AS p (key, position)
        ON CONFLICT (consumer, key, position) DO NOTHING
        RETURNING key
    ), counted AS (
        SELECT a.key, count(*) AS events FROM added a GROUP BY a.key
    )
    UPDATE es.parked_keys k
    SET events = k.events + c.events
    FROM counted c
    WHERE k.consumer = p_consumer AND k.key = c.key;

    IF cardinality(p_gone_keys) > 0 THEN
        WITH gone AS (
            DELETE FROM es.parked_events e
            USING unnest(p_gone_keys, p_gone_positions) AS g (key, position)
            WHERE e.consumer = p_consumer AND e.key = g.key AND e.position = g.position
            RETURNING e.key
        ), counted AS (
            SELECT g.key, count(*) AS events FROM gone g GROUP BY g.key
        ), lessened AS (
            UPDATE es.parked_keys k
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
        DELETE FROM es.parked_keys k
        WHERE k.consumer = p_consumer AND k.key = ANY (p_gone_keys) AND k.events = 0;
    END IF;
    RETURN v_lost;
END
$function$
CREATE OR REPLACE FUNCTION es.check_log_floor()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    IF NEW.position < OLD.position OR NEW.recorded_at < OLD.recorded_at OR (OLD.is_pipelined AND NOT NEW.is_pipelined)
        OR NEW.position > greatest(OLD.position, (SELECT max(e.position) FROM es.events e))
    THEN
        RAISE EXCEPTION 'the floor of the log may rise to the position of the newest event, and never falls'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$function$
CREATE OR REPLACE FUNCTION es.commit_records(p_keys text[], p_conditions text[], p_changes text[], p_values text[], p_revision uuid, p_lock_timeout_ms integer, OUT failed text, OUT now timestamp with time zone)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
    v_setting  text := current_setting('lock_timeout');
    v_unsure   text[] := '{}';
    v_kept     boolean[] := '{}';
    v_key      text;
    v_revision uuid;
    v_exists   boolean;
    v_is_right boolean;
    v_ignored  text;
BEGIN
    v_ignored := set_config('lock_timeout', p_lock_timeout_ms::text, true);

    -- What must be there needs no more than the lock of its row.
    FOR i IN 1..cardinality(p_keys) LOOP
        IF p_conditions[i] = 'absent' OR (p_conditions[i] IS NULL AND p_changes[i] = 'put') THEN
            v_unsure := v_unsure || p_keys[i];
        END IF;
    END LOOP;
    IF cardinality(v_unsure) > 0 THEN
        PERFORM es.lock_record_keys(v_unsure, '{}'::text[]);
    END IF;

    FOR i IN 1..cardinality(p_keys) LOOP
        v_key := p_keys[i];
        IF p_changes[i] IS NULL THEN
            SELECT r.revision INTO v_revision FROM es.records r WHERE r.key = v_key FOR SHARE;
        ELSE
            SELECT r.revision INTO v_revision FROM es.records r WHERE r.key = v_key FOR UPDATE;
        END IF;
        v_exists := FOUND;
        v_is_right := CASE
            WHEN p_conditions[i] IS NULL THEN v_exists OR p_changes[i] <> 'touch'
            WHEN p_conditions[i] = 'absent' THEN NOT v_exists AND p_changes[i] IS DISTINCT FROM 'touch'
            WHEN p_conditions[i] = 'present' THEN v_exists
            ELSE v_exists AND v_revision = p_conditions[i]::uuid
        END;
        IF NOT v_is_right THEN
            failed := v_key;
            now := clock_timestamp();
            v_ignored := set_config('lock_timeout', v_setting, true);
            RETURN;
        END IF;
        v_kept := v_kept || v_exists;
    END LOOP;

    now := clock_timestamp();
    FOR i IN 1..cardinality(p_keys) LOOP
        v_key := p_keys[i];
        IF p_changes[i] = 'put' AND v_kept[i] THEN
            UPDATE es.records r
            SET value = p_values[i]::json, revision = p_revision, changed_at = now
            WHERE r.key = v_key;
        ELSIF p_changes[i] = 'put' THEN
            INSERT INTO es.records (key, value, revision, changed_at)
            VALUES (v_key, p_values[i]::json, p_revision, now);
        ELSIF p_changes[i] = 'touch' THEN
            UPDATE es.records r SET revision = p_revision, changed_at = now WHERE r.key = v_key;
        ELSIF p_changes[i] = 'delete' THEN
            DELETE FROM es.records r WHERE r.key = v_key;
        END IF;
    END LOOP;
    v_ignored := set_config('lock_timeout', v_setting, true);
END
$function$
CREATE OR REPLACE FUNCTION es.confirm_outbox(p_fence bigint, p_tick_id bigint, p_seq bigint)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    -- Before this transaction writes anything.
    v_last bigint := es.outbox_last();
    p      es.outbox_progress;
BEGIN
    PERFORM pg_advisory_xact_lock(1702064997, hashtext('es#outbox'));
    IF NOT EXISTS (SELECT FROM es.leases l WHERE l.consumer = 'outbox' AND l.fence = p_fence) THEN
        RETURN -2;
    END IF;
    SELECT * INTO p FROM es.outbox_progress r ORDER BY r.id DESC LIMIT 1;
    IF p_tick_id < p.tick_id OR (p_tick_id = p.tick_id AND p_seq <= p.given) THEN
        RETURN 0;
    END IF;
    IF p_tick_id > p.tick_id OR p_seq > p.ceiling OR es.outbox_is_foreign(p) THEN
        RETURN -1;
    END IF;
    p.id := p.id + 1;
    p.given := p_seq;
    p.next_floor := v_last;
    INSERT INTO es.outbox_progress SELECT p.*;
    RETURN 0;
END
$function$
CREATE OR REPLACE FUNCTION es.enqueue(p_topic text, p_key text, p_headers json, p_body bytea, p_available_at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    -- Before the sequence is asked.
    v_xid  xid8 := pg_current_xact_id();
    v_slot smallint;
BEGIN
    IF p_available_at > clock_timestamp() THEN
        INSERT INTO es.outbox_delayed (available_at, topic, key, headers, body)
        VALUES (p_available_at, p_topic, p_key, p_headers, p_body);
        RETURN;
    END IF;
    SELECT c.slot INTO v_slot FROM es.outbox_current c;
    -- The slot may be another's by now. That does no harm: it is read, and it is not emptied before this is confirmed.
    INSERT INTO es.outbox (slot, xid, seq, enqueued_at, available_at, topic, key, headers, body)
    VALUES (v_slot, v_xid, nextval('es.outbox_seq'), clock_timestamp(), p_available_at, p_topic, p_key,
            p_headers, p_body);
END
$function$
CREATE OR REPLACE FUNCTION es.event_at(p_position bigint)
 RETURNS uuid
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT e.event_id FROM es.events e WHERE e.position = p_position
$function$
CREATE OR REPLACE FUNCTION es.is_readable(type text, metadata text, payload text, occurred_at timestamp with time zone)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
RETURN ((octet_length(payload) <= 67108864) AND (octet_length(metadata) <= 65536) AND starts_with(metadata, '{'::text) AND ((octet_length(type) >= 1) AND (octet_length(type) <= 128)) AND ((occurred_at IS NULL) OR ((occurred_at > '-infinity'::timestamp with time zone) AND (occurred_at < to_timestamp(('253402300800'::bigint)::double precision)))))
CREATE OR REPLACE FUNCTION es.lock_record_keys(p_keys text[], p_prefixes text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_lock record;
BEGIN
    FOR v_lock IN
        WITH places (path, own) AS (
            SELECT k.path, k.path FROM unnest(p_keys) AS k (path)
            UNION ALL
            SELECT p.path, p.path || '/' FROM unnest(p_prefixes) AS p (path)
        ), names (name, is_exclusive) AS (
            SELECT p.own, true FROM places p
            UNION
            SELECT array_to_string(s.segments[1:g.above], '/') || '/', false
            FROM places p
            CROSS JOIN LATERAL (SELECT string_to_array(p.path, '/') AS segments) s
            CROSS JOIN LATERAL generate_series(0, cardinality(s.segments) - 1) AS g (above)
        )
        SELECT hashtextextended('es' || n.name, 1702064998) AS id, bool_or(n.is_exclusive) AS is_exclusive
        FROM names n
        GROUP BY 1
        ORDER BY 1
    LOOP
        IF v_lock.is_exclusive THEN
            PERFORM pg_advisory_xact_lock(v_lock.id);
        ELSE
            PERFORM pg_advisory_xact_lock_shared(v_lock.id);
        END IF;
    END LOOP;
END
$function$
CREATE OR REPLACE FUNCTION es.lock_records(p_keys text[], p_prefixes text[], p_from text[], p_to text[], p_limit bigint, p_lock_timeout_ms integer)
 RETURNS TABLE(key text, value json, revision uuid, now timestamp with time zone)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
    v_setting text := current_setting('lock_timeout');
BEGIN
    PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);
    PERFORM es.lock_record_keys(p_keys, p_prefixes);
    RETURN QUERY
    SELECT r.key, r.value, r.revision, NULL::timestamp with time zone
    FROM unnest(p_from, p_to) AS b (first, beyond)
    JOIN es.records r
        ON r.key >= b.first AND r.key < coalesce(b.beyond, (SELECT max(m.key) || '/' FROM es.records m))
    ORDER BY r.key
    LIMIT p_limit
    FOR UPDATE OF r;
    RETURN QUERY SELECT NULL::text, NULL::json, NULL::uuid, clock_timestamp();
    PERFORM set_config('lock_timeout', v_setting, true);
END
$function$
CREATE OR REPLACE FUNCTION es.move_checkpoint(p_consumer text, p_from bigint, p_to bigint, p_fence bigint, p_partition_epoch bigint, p_seen bigint DEFAULT NULL::bigint, p_seen_id uuid DEFAULT NULL::uuid)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_actual          bigint;
    v_is_frozen       boolean;
    v_partition_epoch bigint;
    v_started         boolean;
    v_seen_id         uuid;
    v_event_id        uuid;
BEGIN
    SELECT e.event_id INTO v_event_id FROM es.events e WHERE e.position = p_to;
    IF p_seen IS NOT NULL THEN
        IF p_seen = p_to THEN
            v_seen_id := v_event_id;
        ELSE
            SELECT e.event_id INTO v_seen_id FROM es.events e WHERE e.position = p_seen;
        END IF;
        -- An event that is not there may have been removed from the log, unless the log ends before it.
        IF v_seen_id <> p_seen_id OR (v_seen_id IS NULL AND p_seen > greatest(
            (SELECT f.position FROM es.log_floor f), (SELECT max(e.position) FROM es.events e)
        )) THEN
            RETURN -3;
        END IF;
    END IF;

    IF p_fence IS NOT NULL AND NOT EXISTS (
        SELECT FROM es.leases l WHERE l.consumer = p_consumer AND l.fence = p_fence
    ) THEN
        RETURN -2;
    END IF;

    LOOP
        UPDATE es.checkpoints c
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
        FROM es.checkpoints c
        WHERE c.consumer = p_consumer;
        IF NOT FOUND THEN
            -- A process that believes in another partition epoch, or in one that is over, must not begin anew.
            IF p_partition_epoch <> 0 OR position('#' IN p_consumer) > 0 OR EXISTS (
                SELECT
                FROM es.checkpoints c
                WHERE c.consumer > p_consumer || '#' AND c.consumer < p_consumer || '$'
            ) THEN
                RETURN -1;
            END IF;
            IF p_from <> 0 THEN
                RETURN 0;
            END IF;
            v_started := es.start_checkpoint(p_consumer, p_to, true);
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
$function$
CREATE OR REPLACE FUNCTION es.move_due(p_limit bigint)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
    v_now   timestamp with time zone := clock_timestamp();
    v_xid   xid8;
    v_slot  smallint;
    v_moved bigint;
BEGIN
    PERFORM es.adopt_outbox();
    IF NOT EXISTS (SELECT FROM es.outbox_delayed d WHERE d.available_at <= v_now) THEN
        RETURN 0;
    END IF;
    v_xid := pg_current_xact_id();
    SELECT c.slot INTO v_slot FROM es.outbox_current c;
    WITH due AS (
        SELECT d.id
        FROM es.outbox_delayed d
        WHERE d.available_at <= v_now
        ORDER BY d.available_at, d.id
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM es.outbox_delayed d USING due WHERE d.id = due.id
        RETURNING d.id, d.available_at, d.topic, d.key, d.headers, d.body
    )
    INSERT INTO es.outbox (slot, xid, seq, enqueued_at, available_at, topic, key, headers, body)
    SELECT v_slot, v_xid, nextval('es.outbox_seq'), g.available_at, g.available_at, g.topic, g.key, g.headers,
           g.body
    FROM (SELECT * FROM gone ORDER BY gone.available_at, gone.id) g;
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    RETURN v_moved;
END
$function$
CREATE OR REPLACE FUNCTION es.next_tick(p_tick_id bigint)
 RETURNS bigint
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT greatest(p_tick_id + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
$function$
CREATE OR REPLACE FUNCTION es.outbox_is_foreign(p es.outbox_progress)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
AS $function$
BEGIN
    RETURN coalesce(p.server <> es.outbox_server(), false)
        OR pg_snapshot_xmax(p.tick) > pg_snapshot_xmax(pg_current_snapshot())
        OR EXISTS (SELECT FROM es.outbox o WHERE o.xid >= pg_snapshot_xmax(pg_current_snapshot()))
        -- Asked after the snapshot was taken: whatever is seen has a lower number.
        OR EXISTS (SELECT FROM es.outbox o WHERE o.seq > (SELECT es.outbox_last()));
END
$function$
CREATE OR REPLACE FUNCTION es.outbox_last()
 RETURNS bigint
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM es.outbox_seq s
$function$
CREATE OR REPLACE FUNCTION es.outbox_of_tick(p es.outbox_progress, p_limit bigint)
 RETURNS SETOF es.outbox
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
AS $function$
DECLARE
    v_from    bigint := greatest(p.given, p.before_floor);
    v_xmax    xid8   := pg_snapshot_xmax(p.before);
    v_ended   xid8[] := ARRAY(
        SELECT x FROM pg_snapshot_xip(p.before) AS x WHERE pg_visible_in_snapshot(x, p.tick)
    );
BEGIN
    RETURN QUERY
    SELECT u.*
    FROM (
        (
            SELECT o.*
            FROM es.outbox o
            WHERE o.seq > v_from AND o.seq <= p.ceiling
              -- Not for the index on transactions, whose order is another.
              AND (o.xid >= v_xmax) IS TRUE
              AND pg_visible_in_snapshot(o.xid, p.tick)
            ORDER BY o.seq
            LIMIT p_limit
        )
        UNION ALL
        (
            SELECT l.*
            FROM unnest(v_ended) AS x
            CROSS JOIN LATERAL (
                SELECT o.*
                FROM es.outbox o
                WHERE o.xid = x AND o.seq > p.given
                ORDER BY o.xid, o.seq
                LIMIT p_limit
            ) l
        )
    ) u
    ORDER BY u.seq
    LIMIT p_limit;
END
$function$
CREATE OR REPLACE FUNCTION es.outbox_server()
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RETURN (SELECT c.system_identifier::text FROM pg_control_system() c);
EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
    RETURN NULL;
END
$function$
CREATE OR REPLACE FUNCTION es.outbox_stats(p_most bigint)
 RETURNS TABLE(waiting bigint, oldest timestamp with time zone, delayed bigint, bytes bigint)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    p     es.outbox_progress;
    v_now timestamp with time zone := clock_timestamp();
BEGIN
    -- None, if the progress was tidied between two statements.
    WHILE p.id IS NULL LOOP
        SELECT * INTO p FROM es.outbox_progress r ORDER BY r.id DESC LIMIT 1;
    END LOOP;
    RETURN QUERY
    SELECT
        (SELECT count(*) FROM (
            SELECT FROM es.outbox_delayed d WHERE d.available_at <= v_now LIMIT p_most
        ) due) + u.waiting,
        least(u.oldest, (SELECT min(d.available_at) FROM es.outbox_delayed d WHERE d.available_at <= v_now)),
        (SELECT count(*) FROM (
            SELECT FROM es.outbox_delayed d WHERE d.available_at > v_now LIMIT p_most
        ) later),
        (SELECT sum(pg_total_relation_size(('es.' || t.name)::regclass))::bigint
         FROM (
            SELECT 'outbox_' || s AS name FROM generate_series(0, 7) AS s
            UNION ALL
            VALUES ('outbox_delayed'), ('outbox_progress')
         ) t)
    FROM (
        SELECT count(*) AS waiting, min(w) AS oldest FROM es.unconfirmed(p, 0::smallint, 7::smallint, p_most) AS w
    ) u;
END
$function$
CREATE OR REPLACE FUNCTION es.read_outbox(p_limit bigint, p_max_bytes bigint)
 RETURNS TABLE(tick_id bigint, seq bigint, enqueued_at timestamp with time zone, available_at timestamp with time zone, topic text, key text, headers text, body bytea)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    p       es.outbox_progress;
    v_last  bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1702064997, hashtext('es#outbox'));
    SELECT * INTO p FROM es.outbox_progress r ORDER BY r.id DESC LIMIT 1;

    FOR v_round IN 1..2 LOOP
        RETURN QUERY
        SELECT p.tick_id, b.seq, b.enqueued_at, b.available_at, b.topic, b.key, b.headers::text, b.body
        FROM (
            SELECT o.*, sum(octet_length(o.body) + octet_length(o.headers::text)) OVER (
                ORDER BY o.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS bytes_before
            FROM es.outbox_of_tick(p, p_limit) o
        ) b
        WHERE coalesce(b.bytes_before, 0) < p_max_bytes
        ORDER BY b.seq;
        IF FOUND OR v_round = 2 THEN
            RETURN;
        END IF;

        -- The next tick. What it begins with was written down by a transaction that has ended by now, and the ceiling is read
        -- after its snapshot was taken.
        v_last := es.outbox_last();
        SELECT p.id + 1, es.next_tick(p.tick_id), p.tick, p.tick_floor, pg_current_snapshot(), p.next_floor, 0, 0, v_last,
               coalesce(es.outbox_server(), p.server)
        INTO p;
        p.ceiling := es.outbox_last();
        IF NOT EXISTS (SELECT FROM es.outbox_of_tick(p, 1::bigint)) THEN
            RETURN;
        END IF;
        INSERT INTO es.outbox_progress SELECT p.*;
    END LOOP;
END
$function$
CREATE OR REPLACE FUNCTION es.receive_messages(p_consumer text, p_ids text[], p_contents bigint[], p_lock_timeout_ms integer, OUT known_ids text[], OUT known_contents bigint[])
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
    v_timeout   text := current_setting('lock_timeout');
    v_setting   text;
    v_partition smallint;
    v_new       text[];
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        v_setting := set_config('synchronous_commit', 'on', true);
    END IF;
    v_setting := set_config('lock_timeout', p_lock_timeout_ms::text, true);
    LOCK TABLE es.inbox_ring IN ROW EXCLUSIVE MODE;
    -- A statement after the lock sees what the one before it waited for.
    SELECT r.partition INTO STRICT v_partition
    FROM es.inbox_ring r
    WHERE r.opened_at IS NOT NULL AND r.closed_at IS NULL;

    IF v_partition = 0 THEN
        WITH noted AS (
            INSERT INTO es.inbox_0 (consumer, id, content)
            SELECT p_consumer, g.id, g.content
            FROM unnest(p_ids, p_contents) AS g (id, content)
            WHERE (SELECT true FROM es.inbox_1 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM es.inbox_2 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM es.inbox_3 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
            ON CONFLICT DO NOTHING
            RETURNING id
        )
        SELECT array_agg(n.id) INTO v_new FROM noted n;
    ELSIF v_partition = 1 THEN
        WITH noted AS (
            INSERT INTO es.inbox_1 (consumer, id, content)
            SELECT p_consumer, g.id, g.content
            FROM unnest(p_ids, p_contents) AS g (id, content)
            WHERE (SELECT true FROM es.inbox_0 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM es.inbox_2 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM es.inbox_3 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
            ON CONFLICT DO NOTHING
            RETURNING id
        )
        SELECT array_agg(n.id) INTO v_new FROM noted n;
    ELSIF v_partition = 2 THEN
        WITH noted AS (
            INSERT INTO es.inbox_2 (consumer, id, content)
            SELECT p_consumer, g.id, g.content
            FROM unnest(p_ids, p_contents) AS g (id, content)
            WHERE (SELECT true FROM es.inbox_0 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM es.inbox_1 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM es.inbox_3 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
            ON CONFLICT DO NOTHING
            RETURNING id
        )
        SELECT array_agg(n.id) INTO v_new FROM noted n;
    ELSE
        WITH noted AS (
            INSERT INTO es.inbox_3 (consumer, id, content)
            SELECT p_consumer, g.id, g.content
            FROM unnest(p_ids, p_contents) AS g (id, content)
            WHERE (SELECT true FROM es.inbox_0 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM es.inbox_1 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM es.inbox_2 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
            ON CONFLICT DO NOTHING
            RETURNING id
        )
        SELECT array_agg(n.id) INTO v_new FROM noted n;
    END IF;
    v_setting := set_config('lock_timeout', v_timeout, true);
    IF cardinality(v_new) = cardinality(p_ids) THEN
        RETURN;
    END IF;
    SELECT array_agg(o.id), array_agg(o.content) INTO known_ids, known_contents
    FROM unnest(p_ids) AS g (id)
    CROSS JOIN LATERAL (
        SELECT i.id, i.content FROM es.inbox_0 i WHERE i.consumer = p_consumer AND i.id = g.id
        UNION ALL
        SELECT i.id, i.content FROM es.inbox_1 i WHERE i.consumer = p_consumer AND i.id = g.id
        UNION ALL
        SELECT i.id, i.content FROM es.inbox_2 i WHERE i.consumer = p_consumer AND i.id = g.id
        UNION ALL
        SELECT i.id, i.content FROM es.inbox_3 i WHERE i.consumer = p_consumer AND i.id = g.id
    ) o
    WHERE g.id <> ALL (coalesce(v_new, '{}'));
END
$function$
CREATE OR REPLACE FUNCTION es.refuse_change_of_log()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    RAISE EXCEPTION '% on % is refused: the log only grows, by the function append', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$function$
CREATE OR REPLACE FUNCTION es.reset_checkpoints(p_generation text)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    PERFORM pg_advisory_xact_lock(1702064997, hashtext('es' || p_generation));
    UPDATE es.checkpoints c
    SET position = 0,
        updated_at = clock_timestamp(),
        slot_offsets = NULL,
        event_id = NULL,
        slot_offsets_event_id = NULL,
        partition_epoch = c.partition_epoch + (c.slot_offsets IS NOT NULL)::integer
    WHERE (c.consumer = p_generation OR (c.consumer > p_generation || '#' AND c.consumer < p_generation || '$'))
      AND NOT c.is_frozen;
    RETURN FOUND OR es.start_checkpoint(p_generation, 0, true);
END
$function$
CREATE OR REPLACE FUNCTION es.rotate_inbox(p_keep interval)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_now       timestamp with time zone := clock_timestamp();
    v_partition smallint;
    v_has_ids   boolean;
BEGIN
    IF NOT EXISTS (
        SELECT 1
        FROM es.inbox_ring r
        WHERE r.closed_at <= v_now - p_keep OR (r.closed_at IS NULL AND r.opened_at <= v_now - p_keep / 3)
    ) THEN
        RETURN;
    END IF;
    LOCK TABLE es.inbox_ring IN SHARE ROW EXCLUSIVE MODE;
    -- Nothing that was noted under the lock is older.
    v_now := clock_timestamp();

    SELECT r.partition INTO v_partition
    FROM es.inbox_ring r
    WHERE r.closed_at IS NULL AND r.opened_at <= v_now - p_keep / 3;
    IF FOUND THEN
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM es.%I)', 'inbox_' || v_partition) INTO v_has_ids;
        IF v_has_ids THEN
            UPDATE es.inbox_ring r SET closed_at = v_now WHERE r.partition = v_partition;
        ELSE
            UPDATE es.inbox_ring r SET opened_at = v_now WHERE r.partition = v_partition;
        END IF;
    END IF;

    FOR v_partition IN
        SELECT r.partition FROM es.inbox_ring r WHERE r.closed_at <= v_now - p_keep ORDER BY r.closed_at
    LOOP
        EXECUTE format('TRUNCATE es.%I', 'inbox_' || v_partition);
        UPDATE es.inbox_ring r SET opened_at = NULL, closed_at = NULL WHERE r.partition = v_partition;
    END LOOP;

    IF NOT EXISTS (SELECT 1 FROM es.inbox_ring r WHERE r.opened_at IS NOT NULL AND r.closed_at IS NULL) THEN
        SELECT r.partition INTO v_partition
        FROM es.inbox_ring r
        WHERE r.opened_at IS NULL
        ORDER BY r.partition
        LIMIT 1;
        IF NOT FOUND THEN
            -- Only if it is called with a longer time than before: the last one stays open for longer.
            UPDATE es.inbox_ring r SET closed_at = NULL WHERE r.closed_at = v_now;
        ELSE
            UPDATE es.inbox_ring r SET opened_at = v_now WHERE r.partition = v_partition;
        END IF;
    END IF;
END
$function$
CREATE OR REPLACE FUNCTION es.start_checkpoint(p_consumer text, p_position bigint, p_waits boolean)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    v_unpartitioned text := split_part(p_consumer, '#', 1);
    v_lock          integer := hashtext('es' || v_unpartitioned);
BEGIN
    IF EXISTS (SELECT FROM es.checkpoints c WHERE c.consumer = p_consumer) THEN
        RETURN false;
    END IF;
    IF p_waits THEN
        PERFORM pg_advisory_xact_lock(1702064997, v_lock);
    ELSIF NOT pg_try_advisory_xact_lock(1702064997, v_lock) THEN
        RETURN false;
    END IF;

    -- Nobody else makes checkpoints of this generation from here on.
    INSERT INTO es.checkpoints (consumer, position, updated_at, event_id)
    SELECT p_consumer, p_position, clock_timestamp(), es.event_at(p_position)
    WHERE p_consumer = v_unpartitioned
      AND NOT EXISTS (SELECT FROM es.checkpoints c WHERE c.consumer = v_unpartitioned)
      AND NOT EXISTS (
          SELECT
          FROM es.checkpoints c
          WHERE c.consumer > v_unpartitioned || '#' AND c.consumer < v_unpartitioned || '$'
      );
    IF FOUND THEN
        RETURN true;
    END IF;
    IF EXISTS (SELECT FROM es.checkpoints c WHERE c.consumer = p_consumer) THEN
        RETURN false;
    END IF;
    RETURN NULL;
END
$function$
CREATE OR REPLACE FUNCTION es.tidy_outbox(p_rotate_bytes bigint, p_progress_rows bigint)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET lock_timeout TO '100ms'
AS $function$
DECLARE
    p         es.outbox_progress;
    v_current smallint;
    v_leaf    text;
BEGIN
    -- Somebody reads or tidies: next time.
    IF NOT pg_try_advisory_xact_lock(1702064997, hashtext('es#outbox')) THEN
        RETURN;
    END IF;
    SELECT * INTO p FROM es.outbox_progress r ORDER BY r.id DESC LIMIT 1;
    SELECT c.slot INTO v_current FROM es.outbox_current c;

    FOR v_slot IN 0..7 LOOP
        v_leaf := 'es.outbox_' || v_slot;
        CONTINUE WHEN v_slot = v_current OR pg_relation_size(v_leaf::regclass) = 0
            OR EXISTS (SELECT FROM es.unconfirmed(p, v_slot::smallint, v_slot::smallint, 1::bigint));
        BEGIN
            -- With the lock nobody's insert is open, and everything that was committed can be seen.
            EXECUTE 'LOCK TABLE ' || v_leaf || ' IN ACCESS EXCLUSIVE MODE NOWAIT';
            IF NOT EXISTS (SELECT FROM es.unconfirmed(p, v_slot::smallint, v_slot::smallint, 1::bigint)) THEN
                EXECUTE 'TRUNCATE ' || v_leaf;
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;

    IF pg_table_size(('es.outbox_' || v_current)::regclass) >= p_rotate_bytes THEN
        UPDATE es.outbox_current c
        SET slot = e.slot
        FROM (
            SELECT s.slot
            FROM generate_series(0, 7) AS s (slot)
            WHERE s.slot <> v_current AND pg_relation_size(('es.outbox_' || s.slot)::regclass) = 0
            ORDER BY (s.slot - v_current + 8) % 8
            LIMIT 1
        ) e;
    END IF;

    IF p.id - (SELECT min(r.id) FROM es.outbox_progress r) >= p_progress_rows THEN
        BEGIN
            LOCK TABLE es.outbox_progress IN ACCESS EXCLUSIVE MODE NOWAIT;
            TRUNCATE es.outbox_progress;
            INSERT INTO es.outbox_progress SELECT p.*;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END IF;
END
$function$
CREATE OR REPLACE FUNCTION es.unconfirmed(p es.outbox_progress, p_first smallint, p_last smallint, p_limit bigint)
 RETURNS SETOF timestamp with time zone
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
 SET enable_seqscan TO 'off'
 SET enable_bitmapscan TO 'off'
AS $function$
DECLARE
    v_from  bigint := greatest(p.given, p.before_floor);
    v_xmax  xid8   := pg_snapshot_xmax(p.before);
    v_ended xid8[] := ARRAY(SELECT x FROM pg_snapshot_xip(p.before) AS x WHERE pg_visible_in_snapshot(x, p.tick));
    v_open  xid8[] := ARRAY(SELECT pg_snapshot_xip(p.tick));
    v_next  xid8   := pg_snapshot_xmax(p.tick);
BEGIN
    IF es.outbox_is_foreign(p) THEN
        RETURN QUERY SELECT o.enqueued_at FROM es.outbox o WHERE o.slot BETWEEN p_first AND p_last LIMIT p_limit;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT u.enqueued_at
    FROM (
        SELECT o.enqueued_at
        FROM es.outbox o
        WHERE o.slot BETWEEN p_first AND p_last AND o.xid = ANY (v_ended) AND o.seq > p.given
        UNION ALL
        SELECT o.enqueued_at
        FROM es.outbox o
        WHERE o.slot BETWEEN p_first AND p_last AND o.seq > v_from AND o.seq <= p.ceiling
          AND (o.xid >= v_xmax) IS TRUE AND pg_visible_in_snapshot(o.xid, p.tick)
        UNION ALL
        SELECT o.enqueued_at
        FROM es.outbox o
        WHERE o.slot BETWEEN p_first AND p_last AND o.xid = ANY (v_open)
        UNION ALL
        SELECT o.enqueued_at
        FROM es.outbox o
        WHERE o.slot BETWEEN p_first AND p_last AND o.xid >= v_next
    ) u
    LIMIT p_limit;
END
$function$
CREATE OR REPLACE FUNCTION es.use_pipelined()
 RETURNS void
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    UPDATE es.log_floor f SET is_pipelined = true WHERE NOT f.is_pipelined
$function$
