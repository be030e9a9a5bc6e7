-- Messages that are to be published, written in the transactions of others. docs/adr/0006-outbox.md says why it is as it is.
--
-- {schema} is replaced by the store's quoted schema name.
--
-- What changes the tables runs with its owner's rights, and calls the other functions with exactly their types: nobody who may
-- create functions in the schema can put another one in their place.

CREATE SEQUENCE {schema}.outbox_seq;

-- Insert-only. A partition is emptied as a whole, so nothing in it needs a vacuum.
CREATE TABLE {schema}.outbox (
    slot         smallint                 NOT NULL,
    -- The transaction that wrote it. Taken before `seq`, which the reader relies on.
    xid          xid8                     NOT NULL,
    seq          bigint                   NOT NULL,
    enqueued_at  timestamp with time zone NOT NULL,
    available_at timestamp with time zone,
    topic        text                     NOT NULL,
    key          text,
    headers      json                     NOT NULL,
    body         bytea                    NOT NULL
) PARTITION BY LIST (slot);

CREATE INDEX outbox_seq_idx ON {schema}.outbox (seq);
CREATE INDEX outbox_xid_idx ON {schema}.outbox (xid, seq);

CREATE TABLE {schema}.outbox_0 PARTITION OF {schema}.outbox FOR VALUES IN (0) WITH (autovacuum_enabled = false);
CREATE TABLE {schema}.outbox_1 PARTITION OF {schema}.outbox FOR VALUES IN (1) WITH (autovacuum_enabled = false);
CREATE TABLE {schema}.outbox_2 PARTITION OF {schema}.outbox FOR VALUES IN (2) WITH (autovacuum_enabled = false);
CREATE TABLE {schema}.outbox_3 PARTITION OF {schema}.outbox FOR VALUES IN (3) WITH (autovacuum_enabled = false);
CREATE TABLE {schema}.outbox_4 PARTITION OF {schema}.outbox FOR VALUES IN (4) WITH (autovacuum_enabled = false);
CREATE TABLE {schema}.outbox_5 PARTITION OF {schema}.outbox FOR VALUES IN (5) WITH (autovacuum_enabled = false);
CREATE TABLE {schema}.outbox_6 PARTITION OF {schema}.outbox FOR VALUES IN (6) WITH (autovacuum_enabled = false);
CREATE TABLE {schema}.outbox_7 PARTITION OF {schema}.outbox FOR VALUES IN (7) WITH (autovacuum_enabled = false);

-- Where messages are written to. One row. Read by every writer, so nothing that changes often stands here.
CREATE TABLE {schema}.outbox_current (
    slot smallint NOT NULL
)
WITH (fillfactor = 10);
INSERT INTO {schema}.outbox_current (slot) VALUES (0);

CREATE TABLE {schema}.outbox_delayed (
    id           bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_delayed_pkey PRIMARY KEY,
    available_at timestamp with time zone NOT NULL,
    topic        text                     NOT NULL,
    key          text,
    headers      json                     NOT NULL,
    body         bytea                    NOT NULL
);

CREATE INDEX outbox_delayed_available_idx ON {schema}.outbox_delayed (available_at, id);

-- How far the relay is; the row with the highest id counts. Insert-only too: a row that is updated again and again is found
-- ever more slowly while a transaction is held open.
--
-- A message belongs to the tick if its transaction had ended in `tick`, and had not in `before`.
CREATE TABLE {schema}.outbox_progress (
    id           bigint      NOT NULL CONSTRAINT outbox_progress_pkey PRIMARY KEY,
    tick_id      bigint      NOT NULL,
    before       pg_snapshot NOT NULL,
    -- Transactions that `before` knows nothing of have only higher numbers.
    before_floor bigint      NOT NULL,
    tick         pg_snapshot NOT NULL,
    tick_floor   bigint      NOT NULL,
    -- No message of the tick has a higher number.
    ceiling      bigint      NOT NULL,
    -- The last message of the tick that is confirmed.
    given        bigint      NOT NULL,
    -- Transactions that begin after this row was committed have only higher numbers.
    next_floor   bigint      NOT NULL,
    -- The server to which the numbers of the transactions belong; null if it does not say.
    server       text
)
WITH (autovacuum_enabled = false);

-- Which server this is: not the one from which a dump, or a subscription of logical replication, brought the rows.
CREATE FUNCTION {schema}.outbox_server() RETURNS text
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (SELECT c.system_identifier::text FROM pg_control_system() c);
EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
    RETURN NULL;
END
$function$;

INSERT INTO {schema}.outbox_progress
    (id, tick_id, before, before_floor, tick, tick_floor, ceiling, given, next_floor, server)
VALUES (1, 0, '1:1:', 0, '1:1:', 0, 0, 0, 0, {schema}.outbox_server());

-- Writes a message in the caller's transaction.
CREATE FUNCTION {schema}.enqueue(
    p_topic text, p_key text, p_headers json, p_body bytea, p_available_at timestamp with time zone
) RETURNS void
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- Before the sequence is asked.
    v_xid  xid8 := pg_current_xact_id();
    v_slot smallint;
BEGIN
    IF p_available_at > clock_timestamp() THEN
        INSERT INTO {schema}.outbox_delayed (available_at, topic, key, headers, body)
        VALUES (p_available_at, p_topic, p_key, p_headers, p_body);
        RETURN;
    END IF;
    SELECT c.slot INTO v_slot FROM {schema}.outbox_current c;
    -- The slot may be another's by now. That does no harm: it is read, and it is not emptied before this is confirmed.
    INSERT INTO {schema}.outbox (slot, xid, seq, enqueued_at, available_at, topic, key, headers, body)
    VALUES (v_slot, v_xid, nextval('{schema}.outbox_seq'), clock_timestamp(), p_available_at, p_topic, p_key,
            p_headers, p_body);
END
$function$;

-- The highest number that was handed out.
CREATE FUNCTION {schema}.outbox_last() RETURNS bigint
LANGUAGE sql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM {schema}.outbox_seq s
$function$;

-- Whether the outbox comes from another server: that has another name, or transactions or messages have numbers that this server has not
-- handed out yet. Nothing that is known of such messages says whether they were confirmed.
CREATE FUNCTION {schema}.outbox_is_foreign(p {schema}.outbox_progress) RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
BEGIN
    RETURN coalesce(p.server <> {schema}.outbox_server(), false)
        OR pg_snapshot_xmax(p.tick) > pg_snapshot_xmax(pg_current_snapshot())
        OR EXISTS (SELECT FROM {schema}.outbox o WHERE o.xid >= pg_snapshot_xmax(pg_current_snapshot()))
        -- Asked after the snapshot was taken: whatever is seen has a lower number.
        OR EXISTS (SELECT FROM {schema}.outbox o WHERE o.seq > (SELECT {schema}.outbox_last()));
END
$function$;

-- The number of the next tick. It has the time in it, so that a server that lost its last ticks does not use a number again under
-- which a relay remembers other messages.
CREATE FUNCTION {schema}.next_tick(p_tick_id bigint) RETURNS bigint
LANGUAGE sql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT greatest(p_tick_id + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
$function$;

-- Takes over an outbox that was restored or replicated into this server: whatever is there is new, in its order, and written by this
-- transaction. What others have not committed yet is written by transactions of this server, and comes later as always.
CREATE FUNCTION {schema}.adopt_outbox() RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    p      {schema}.outbox_progress;
    v_slot smallint;
BEGIN
    SELECT * INTO p FROM {schema}.outbox_progress r ORDER BY r.id DESC LIMIT 1;
    IF NOT {schema}.outbox_is_foreign(p) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(1702064997, hashtext('{schema}#outbox'));
    SELECT * INTO p FROM {schema}.outbox_progress r ORDER BY r.id DESC LIMIT 1;
    IF NOT {schema}.outbox_is_foreign(p) THEN
        RETURN;
    END IF;
    SELECT p.id + 1, {schema}.next_tick(p.tick_id), s.now, 0, s.now, 0, 0, 0, 0, {schema}.outbox_server()
    INTO p
    FROM (SELECT pg_current_snapshot() AS now) s;
    SELECT c.slot INTO v_slot FROM {schema}.outbox_current c;
    WITH moved AS (
        DELETE FROM {schema}.outbox o RETURNING o.*
    )
    INSERT INTO {schema}.outbox (slot, xid, seq, enqueued_at, available_at, topic, key, headers, body)
    SELECT v_slot, pg_current_xact_id(), nextval('{schema}.outbox_seq'), m.enqueued_at, m.available_at, m.topic, m.key, m.headers,
           m.body
    FROM (SELECT * FROM moved ORDER BY moved.seq) m;
    INSERT INTO {schema}.outbox_progress SELECT p.*;
END
$function$;

-- Moves delayed messages whose time has come behind the others; gives how many. Called in a transaction before each read, and so takes
-- over an outbox of another server, too.
CREATE FUNCTION {schema}.move_due(p_limit bigint) RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_now   timestamp with time zone := clock_timestamp();
    v_xid   xid8;
    v_slot  smallint;
    v_moved bigint;
BEGIN
    PERFORM {schema}.adopt_outbox();
    IF NOT EXISTS (SELECT FROM {schema}.outbox_delayed d WHERE d.available_at <= v_now) THEN
        RETURN 0;
    END IF;
    v_xid := pg_current_xact_id();
    SELECT c.slot INTO v_slot FROM {schema}.outbox_current c;
    WITH due AS (
        SELECT d.id
        FROM {schema}.outbox_delayed d
        WHERE d.available_at <= v_now
        ORDER BY d.available_at, d.id
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM {schema}.outbox_delayed d USING due WHERE d.id = due.id
        RETURNING d.id, d.available_at, d.topic, d.key, d.headers, d.body
    )
    INSERT INTO {schema}.outbox (slot, xid, seq, enqueued_at, available_at, topic, key, headers, body)
    SELECT v_slot, v_xid, nextval('{schema}.outbox_seq'), g.available_at, g.available_at, g.topic, g.key, g.headers,
           g.body
    FROM (SELECT * FROM gone ORDER BY gone.available_at, gone.id) g;
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    RETURN v_moved;
END
$function$;

-- The messages of a tick after a number, in order, up to so many.
--
-- Two parts: those of transactions that `before` did not know, by their numbers, and those of transactions that were open then,
-- each of which is looked up. So no read looks at what was given before, however long a transaction was open.
CREATE FUNCTION {schema}.outbox_of_tick(p {schema}.outbox_progress, p_limit bigint) RETURNS SETOF {schema}.outbox
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
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
            FROM {schema}.outbox o
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
                FROM {schema}.outbox o
                WHERE o.xid = x AND o.seq > p.given
                ORDER BY o.xid, o.seq
                LIMIT p_limit
            ) l
        )
    ) u
    ORDER BY u.seq
    LIMIT p_limit;
END
$function$;

-- The next messages that are not confirmed. A batch ends after the message that brings it to `p_max_bytes`.
CREATE FUNCTION {schema}.read_outbox(p_limit bigint, p_max_bytes bigint) RETURNS TABLE (
    tick_id bigint, seq bigint, enqueued_at timestamp with time zone, available_at timestamp with time zone, topic text,
    key text, headers text, body bytea
)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    p       {schema}.outbox_progress;
    v_last  bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1702064997, hashtext('{schema}#outbox'));
    SELECT * INTO p FROM {schema}.outbox_progress r ORDER BY r.id DESC LIMIT 1;

    FOR v_round IN 1..2 LOOP
        RETURN QUERY
        SELECT p.tick_id, b.seq, b.enqueued_at, b.available_at, b.topic, b.key, b.headers::text, b.body
        FROM (
            SELECT o.*, sum(octet_length(o.body) + octet_length(o.headers::text)) OVER (
                ORDER BY o.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS bytes_before
            FROM {schema}.outbox_of_tick(p, p_limit) o
        ) b
        WHERE coalesce(b.bytes_before, 0) < p_max_bytes
        ORDER BY b.seq;
        IF FOUND OR v_round = 2 THEN
            RETURN;
        END IF;

        -- The next tick. What it begins with was written down by a transaction that has ended by now, and the ceiling is read
        -- after its snapshot was taken.
        v_last := {schema}.outbox_last();
        SELECT p.id + 1, {schema}.next_tick(p.tick_id), p.tick, p.tick_floor, pg_current_snapshot(), p.next_floor, 0, 0, v_last,
               coalesce({schema}.outbox_server(), p.server)
        INTO p;
        p.ceiling := {schema}.outbox_last();
        IF NOT EXISTS (SELECT FROM {schema}.outbox_of_tick(p, 1::bigint)) THEN
            RETURN;
        END IF;
        INSERT INTO {schema}.outbox_progress SELECT p.*;
    END LOOP;
END
$function$;

-- Confirms up to a place. Gives 0, or -1 if there is no such place, or -2 if the relay's lease went to somebody else.
CREATE FUNCTION {schema}.confirm_outbox(p_fence bigint, p_tick_id bigint, p_seq bigint) RETURNS integer
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- Before this transaction writes anything.
    v_last bigint := {schema}.outbox_last();
    p      {schema}.outbox_progress;
BEGIN
    PERFORM pg_advisory_xact_lock(1702064997, hashtext('{schema}#outbox'));
    IF NOT EXISTS (SELECT FROM {schema}.leases l WHERE l.consumer = 'outbox' AND l.fence = p_fence) THEN
        RETURN -2;
    END IF;
    SELECT * INTO p FROM {schema}.outbox_progress r ORDER BY r.id DESC LIMIT 1;
    IF p_tick_id < p.tick_id OR (p_tick_id = p.tick_id AND p_seq <= p.given) THEN
        RETURN 0;
    END IF;
    IF p_tick_id > p.tick_id OR p_seq > p.ceiling OR {schema}.outbox_is_foreign(p) THEN
        RETURN -1;
    END IF;
    p.id := p.id + 1;
    p.given := p_seq;
    p.next_floor := v_last;
    INSERT INTO {schema}.outbox_progress SELECT p.*;
    RETURN 0;
END
$function$;

-- Messages that are not confirmed and can be seen, when they were written, in these slots; up to so many.
CREATE FUNCTION {schema}.unconfirmed(
    p {schema}.outbox_progress, p_first smallint, p_last smallint, p_limit bigint
) RETURNS SETOF timestamp with time zone
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_from  bigint := greatest(p.given, p.before_floor);
    v_xmax  xid8   := pg_snapshot_xmax(p.before);
    v_ended xid8[] := ARRAY(SELECT x FROM pg_snapshot_xip(p.before) AS x WHERE pg_visible_in_snapshot(x, p.tick));
    v_open  xid8[] := ARRAY(SELECT pg_snapshot_xip(p.tick));
    v_next  xid8   := pg_snapshot_xmax(p.tick);
BEGIN
    IF {schema}.outbox_is_foreign(p) THEN
        RETURN QUERY SELECT o.enqueued_at FROM {schema}.outbox o WHERE o.slot BETWEEN p_first AND p_last LIMIT p_limit;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT u.enqueued_at
    FROM (
        SELECT o.enqueued_at
        FROM {schema}.outbox o
        WHERE o.slot BETWEEN p_first AND p_last AND o.xid = ANY (v_ended) AND o.seq > p.given
        UNION ALL
        SELECT o.enqueued_at
        FROM {schema}.outbox o
        WHERE o.slot BETWEEN p_first AND p_last AND o.seq > v_from AND o.seq <= p.ceiling
          AND (o.xid >= v_xmax) IS TRUE AND pg_visible_in_snapshot(o.xid, p.tick)
        UNION ALL
        SELECT o.enqueued_at
        FROM {schema}.outbox o
        WHERE o.slot BETWEEN p_first AND p_last AND o.xid = ANY (v_open)
        UNION ALL
        SELECT o.enqueued_at
        FROM {schema}.outbox o
        WHERE o.slot BETWEEN p_first AND p_last AND o.xid >= v_next
    ) u
    LIMIT p_limit;
END
$function$;

-- Empties the slots of which everything is confirmed and in which nobody's transaction is open, and lets writers go on in an
-- empty one when the current one holds so many bytes. Never waits for a lock that a writer may hold.
CREATE FUNCTION {schema}.tidy_outbox(p_rotate_bytes bigint, p_progress_rows bigint) RETURNS void
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '100ms'
AS $function$
DECLARE
    p         {schema}.outbox_progress;
    v_current smallint;
    v_leaf    text;
BEGIN
    -- Somebody reads or tidies: next time.
    IF NOT pg_try_advisory_xact_lock(1702064997, hashtext('{schema}#outbox')) THEN
        RETURN;
    END IF;
    SELECT * INTO p FROM {schema}.outbox_progress r ORDER BY r.id DESC LIMIT 1;
    SELECT c.slot INTO v_current FROM {schema}.outbox_current c;

    FOR v_slot IN 0..7 LOOP
        v_leaf := '{schema}.outbox_' || v_slot;
        CONTINUE WHEN v_slot = v_current OR pg_relation_size(v_leaf::regclass) = 0
            OR EXISTS (SELECT FROM {schema}.unconfirmed(p, v_slot::smallint, v_slot::smallint, 1::bigint));
        BEGIN
            -- With the lock nobody's insert is open, and everything that was committed can be seen.
            EXECUTE 'LOCK TABLE ' || v_leaf || ' IN ACCESS EXCLUSIVE MODE NOWAIT';
            IF NOT EXISTS (SELECT FROM {schema}.unconfirmed(p, v_slot::smallint, v_slot::smallint, 1::bigint)) THEN
                EXECUTE 'TRUNCATE ' || v_leaf;
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END LOOP;

    IF pg_table_size(('{schema}.outbox_' || v_current)::regclass) >= p_rotate_bytes THEN
        UPDATE {schema}.outbox_current c
        SET slot = e.slot
        FROM (
            SELECT s.slot
            FROM generate_series(0, 7) AS s (slot)
            WHERE s.slot <> v_current AND pg_relation_size(('{schema}.outbox_' || s.slot)::regclass) = 0
            ORDER BY (s.slot - v_current + 8) % 8
            LIMIT 1
        ) e;
    END IF;

    IF p.id - (SELECT min(r.id) FROM {schema}.outbox_progress r) >= p_progress_rows THEN
        BEGIN
            LOCK TABLE {schema}.outbox_progress IN ACCESS EXCLUSIVE MODE NOWAIT;
            TRUNCATE {schema}.outbox_progress;
            INSERT INTO {schema}.outbox_progress SELECT p.*;
        EXCEPTION WHEN lock_not_available THEN
            NULL;
        END;
    END IF;
END
$function$;

-- What waits, since when, what is delayed, and bytes.
CREATE FUNCTION {schema}.outbox_stats(p_most bigint) RETURNS TABLE (
    waiting bigint, oldest timestamp with time zone, delayed bigint, bytes bigint
)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    p     {schema}.outbox_progress;
    v_now timestamp with time zone := clock_timestamp();
BEGIN
    -- None, if the progress was tidied between two statements.
    WHILE p.id IS NULL LOOP
        SELECT * INTO p FROM {schema}.outbox_progress r ORDER BY r.id DESC LIMIT 1;
    END LOOP;
    RETURN QUERY
    SELECT
        (SELECT count(*) FROM (
            SELECT FROM {schema}.outbox_delayed d WHERE d.available_at <= v_now LIMIT p_most
        ) due) + u.waiting,
        least(u.oldest, (SELECT min(d.available_at) FROM {schema}.outbox_delayed d WHERE d.available_at <= v_now)),
        (SELECT count(*) FROM (
            SELECT FROM {schema}.outbox_delayed d WHERE d.available_at > v_now LIMIT p_most
        ) later),
        (SELECT sum(pg_total_relation_size(('{schema}.' || t.name)::regclass))::bigint
         FROM (
            SELECT 'outbox_' || s AS name FROM generate_series(0, 7) AS s
            UNION ALL
            VALUES ('outbox_delayed'), ('outbox_progress')
         ) t)
    FROM (
        SELECT count(*) AS waiting, min(w) AS oldest FROM {schema}.unconfirmed(p, 0::smallint, 7::smallint, p_most) AS w
    ) u;
END
$function$;

REVOKE ALL ON FUNCTION
    {schema}.outbox_server,
    {schema}.outbox_is_foreign,
    {schema}.next_tick,
    {schema}.adopt_outbox,
    {schema}.enqueue,
    {schema}.move_due,
    {schema}.outbox_last,
    {schema}.outbox_of_tick,
    {schema}.read_outbox,
    {schema}.confirm_outbox,
    {schema}.unconfirmed,
    {schema}.tidy_outbox,
    {schema}.outbox_stats FROM PUBLIC;
