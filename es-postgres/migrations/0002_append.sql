-- The function `append`: one call for one append or many, whatever the number of their events and streams.
--
-- {schema} is replaced by the store's quoted schema name.
--
-- p_keys and p_requests have one element per append, the idempotency key and the digest of what it stands for, or null;
-- p_keys is null if no append has a key.
-- p_appends, p_streams, p_categories, p_expected, p_decided_after and p_offsets have one element per stream of an append,
-- in order. No two of them may name the same stream:
--   p_appends        the append that it belongs to (from 1)
--   p_expected       -2 any version, -1 an existing stream, 0 no stream, otherwise exactly this version
--   p_decided_after  the expected id of the stream's last event, or null
--   p_offsets        how many events of the call come before the stream's first; a stream without events is a guard
-- p_parts, p_ids, p_types, p_payloads, p_metadata and p_occurred_at have one element per event, in order. No two of them
-- may have the same id:
--   p_parts          the event's stream, as an index into p_streams (from 1)
-- p_lock_timeout_ms  how long to wait for the ordering lock; 0 waits for ever
-- p_commit           'flushed' turns `synchronous_commit` on for this transaction if it is off; 'unflushed' turns it
--                    off; null leaves it as it is
--
-- It runs with its owner's rights, so that the application's role needs none on the tables. So positions, versions and times are
-- made here, and arrays that do not fit together and events that could not be read back are refused.
--
-- An append is decided as a whole and for itself: what becomes of another one of the same call does not matter to it.
-- Gives one row and raises nothing for what a caller can expect, so that the caller's transaction stays usable:
--   problem      null, or why nothing was decided: 'isolation' or 'busy'
--   detail       of the problem: the caller's isolation level; what was waited for and who holds it
--   head         the position before the first new event; the events of all appends that are not refused follow
--                without gaps, in the order given
--   head_id      the id of the event at that position; null if there is none
--   recorded_at  of every new event
--   versions     of each stream in p_streams, before the call
--   is_heard     whether some connection may listen for new events
--   has_waited   whether somebody else had the ordering lock at first
--   refusals     null, or a JSON array of the appends that stored nothing:
--                {append, status: 'repeated', first, last}  the same append is stored at these positions
--                {append, status: 'id_reused', id}          an event id is stored with other content or in another place
--                {append, status: 'key_reused', first, last} the key is stored for another request, at these positions
--                {append, status: 'conflict', part, actual} an expectation does not hold; the version there is
--
-- Locks: the ordering lock (advisory, this schema's) to the end of the transaction, and the listeners' one if it is free. Everything that decides is read
-- after it was had, each statement by a snapshot of its own; a transaction at REPEATABLE READ or above would
-- see what was there before, and is refused.
CREATE FUNCTION {schema}.append(
    p_keys            text[],
    p_appends         integer[],
    p_streams         text[],
    p_categories      text[],
    p_expected        bigint[],
    p_decided_after   uuid[],
    p_offsets         integer[],
    p_parts           integer[],
    p_ids             uuid[],
    p_types           text[],
    p_payloads        text[],
    p_metadata        text[],
    p_occurred_at     timestamp with time zone[],
    p_lock_timeout_ms integer,
    p_commit          text,
    p_requests        bytea[],
    OUT problem       text,
    OUT detail        text,
    OUT head          bigint,
    OUT recorded_at   timestamp with time zone,
    OUT versions      bigint[],
    OUT refusals      jsonb,
    OUT is_heard      boolean,
    OUT has_waited    boolean,
    OUT head_id       uuid
)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
-- Every name below is qualified, and nobody can slip in another `=` or `max`.
SET search_path = pg_catalog, pg_temp
-- The triggers of the log let this function insert.
SET es.is_append = 'on'
-- One plan for ever, made perhaps when the log was empty. The subqueries with LIMIT 1 make it one that looks up
-- indexes, whatever the planner knew.
SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
    -- The class of the lock is this library's; the object is the schema, whatever it is called later.
    c_lock_class CONSTANT integer := 1702064993;
    -- Whoever listens holds this one in its shared form.
    c_listener_class CONSTANT integer := 1702064996;
    v_lock_object         integer := '{schema}'::regnamespace::oid::integer;
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
        AND {schema}.are_readable_names(p_categories[1], p_streams[1], p_types[1])
        AND {schema}.is_readable(p_types[1], p_metadata[1], p_payloads[1], p_occurred_at[1])
    THEN
        INSERT INTO {schema}.events AS n
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
        FROM {schema}.log_floor f
        LEFT JOIN (SELECT e.position, e.recorded_at
                   FROM {schema}.events e
                   ORDER BY e.position DESC
                   LIMIT 1) AS l ON true
        LEFT JOIN (SELECT e.version, e.event_id
                   FROM {schema}.events e
                   WHERE e.stream = p_streams[1]
                   ORDER BY e.version DESC
                   LIMIT 1) AS s ON true
        WHERE coalesce(s.version, 0) = p_expected[1]
          AND (p_decided_after[1] IS NULL OR s.event_id = p_decided_after[1])
          AND NOT EXISTS (SELECT FROM {schema}.events e WHERE e.event_id = p_ids[1] LIMIT 1)
        RETURNING n.position - 1,
                  n.recorded_at,
                  (SELECT e.event_id FROM {schema}.events e WHERE e.position = n.position - 1 LIMIT 1)
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
               WHERE {schema}.are_readable_names(s.category, s.stream, '') IS NOT TRUE)
        OR array_to_string(p_types, '') ~ '[\x01-\x1f\x7f-\x9f]'
        OR EXISTS (SELECT
                   FROM unnest(p_types, p_payloads, p_metadata, p_occurred_at) AS i (type, payload, metadata, occurred_at)
                   WHERE {schema}.is_readable(i.type, i.metadata, i.payload, i.occurred_at) IS NOT TRUE)
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
                   CROSS JOIN LATERAL (SELECT FROM {schema}.events o WHERE o.event_id = i.id LIMIT 1) AS e)
           OR (p_keys IS NOT NULL
               AND EXISTS (SELECT
                           FROM unnest(p_keys) AS k (key)
                           CROSS JOIN LATERAL (SELECT FROM {schema}.appends o WHERE o.key = k.key LIMIT 1) AS a)),
           v.versions,
           v.failed
    INTO STRICT head, head_id, recorded_at, v_is_known, versions, v_failed_parts
    FROM {schema}.log_floor f
    LEFT JOIN (SELECT e.position, e.event_id, e.recorded_at
               FROM {schema}.events e
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
                           FROM {schema}.events e
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
            CROSS JOIN LATERAL (SELECT o.position FROM {schema}.events o WHERE o.event_id = g.id LIMIT 1) AS e
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
                               FROM {schema}.events o
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
                                FROM {schema}.appends o
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

    INSERT INTO {schema}.events
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
        INSERT INTO {schema}.appends (key, first_position, last_position, request)
        SELECT p_keys[i.append], min(i.position), max(i.position), p_requests[i.append]
        FROM (SELECT p_appends[e.part] AS append, head + e.n - coalesce(v_shifts[e.part], 0) AS position
              FROM unnest(p_parts) WITH ORDINALITY AS e (part, n)
              WHERE v_is_refused IS NULL OR NOT v_is_refused[e.part]) AS i
        WHERE p_keys[i.append] IS NOT NULL
        GROUP BY i.append;
    END IF;
END
$function$;

REVOKE ALL ON FUNCTION {schema}.append FROM PUBLIC;
