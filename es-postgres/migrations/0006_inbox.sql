-- Which messages have been handled.
--
-- {schema} is replaced by the store's quoted schema name. The functions run with their owner's rights, and nobody else needs any on
-- the tables.

-- The partitions of the inbox, in which ids are remembered: one is open and takes new ones, others are closed and grow old, and
-- the rest is empty.
--
-- Whoever notes ids holds this table in the mode ROW EXCLUSIVE to the end of its transaction, and whoever changes it in the mode
-- SHARE ROW EXCLUSIVE. So nothing is in flight while another partition is opened, and an id cannot be noted in two.
CREATE TABLE {schema}.inbox_ring (
    partition smallint CONSTRAINT inbox_ring_pkey PRIMARY KEY,
    -- Null: it is empty.
    opened_at timestamp with time zone,
    -- Null: it is open, or empty.
    closed_at timestamp with time zone,
    CONSTRAINT inbox_ring_partition_check CHECK (partition BETWEEN 0 AND 3),
    CONSTRAINT inbox_ring_times_check CHECK (closed_at IS NULL OR opened_at IS NOT NULL)
);

CREATE UNIQUE INDEX inbox_ring_open_idx ON {schema}.inbox_ring ((true)) WHERE opened_at IS NOT NULL AND closed_at IS NULL;

INSERT INTO {schema}.inbox_ring (partition, opened_at)
VALUES (0, clock_timestamp()), (1, NULL), (2, NULL), (3, NULL);

-- Ids are mostly in the order of time (UUIDs of version 7), so that each consumer fills its index from the right. The content is a
-- digest of it.
CREATE TABLE {schema}.inbox_0 (
    consumer text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    content  bigint NOT NULL,
    CONSTRAINT inbox_0_pkey PRIMARY KEY (consumer, id)
);

CREATE TABLE {schema}.inbox_1 (
    consumer text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    content  bigint NOT NULL,
    CONSTRAINT inbox_1_pkey PRIMARY KEY (consumer, id)
);

CREATE TABLE {schema}.inbox_2 (
    consumer text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    content  bigint NOT NULL,
    CONSTRAINT inbox_2_pkey PRIMARY KEY (consumer, id)
);

CREATE TABLE {schema}.inbox_3 (
    consumer text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    content  bigint NOT NULL,
    CONSTRAINT inbox_3_pkey PRIMARY KEY (consumer, id)
);

-- Notes that messages are handled by a consumer, in the caller's transaction, and turns `synchronous_commit` on for it if it is off: the
-- broker forgets a message once it is acknowledged.
--
-- p_ids              the ids, each once, in their order: two calls with the same ids then never wait for each other in a ring
-- p_contents         digests of their contents, in the same order
-- p_lock_timeout_ms  how long to wait for a lock; 0 waits for ever
-- Returns null if all are new, otherwise those that were handled before, and the digests of the contents that were.
-- Locks: see inbox_ring; and each id to the end of the transaction. Whoever notes one of them at the same time is waited for: the id
-- is new if that is rolled back.
CREATE FUNCTION {schema}.receive_messages(
    p_consumer text, p_ids text[], p_contents bigint[], p_lock_timeout_ms integer,
    OUT known_ids text[], OUT known_contents bigint[]
)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- One plan for ever, made perhaps when the partitions were empty; it looks up the indexes.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
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
    LOCK TABLE {schema}.inbox_ring IN ROW EXCLUSIVE MODE;
    -- A statement after the lock sees what the one before it waited for.
    SELECT r.partition INTO STRICT v_partition
    FROM {schema}.inbox_ring r
    WHERE r.opened_at IS NOT NULL AND r.closed_at IS NULL;

    IF v_partition = 0 THEN
        WITH noted AS (
            INSERT INTO {schema}.inbox_0 (consumer, id, content)
            SELECT p_consumer, g.id, g.content
            FROM unnest(p_ids, p_contents) AS g (id, content)
            WHERE (SELECT true FROM {schema}.inbox_1 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM {schema}.inbox_2 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM {schema}.inbox_3 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
            ON CONFLICT DO NOTHING
            RETURNING id
        )
        SELECT array_agg(n.id) INTO v_new FROM noted n;
    ELSIF v_partition = 1 THEN
        WITH noted AS (
            INSERT INTO {schema}.inbox_1 (consumer, id, content)
            SELECT p_consumer, g.id, g.content
            FROM unnest(p_ids, p_contents) AS g (id, content)
            WHERE (SELECT true FROM {schema}.inbox_0 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM {schema}.inbox_2 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM {schema}.inbox_3 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
            ON CONFLICT DO NOTHING
            RETURNING id
        )
        SELECT array_agg(n.id) INTO v_new FROM noted n;
    ELSIF v_partition = 2 THEN
        WITH noted AS (
            INSERT INTO {schema}.inbox_2 (consumer, id, content)
            SELECT p_consumer, g.id, g.content
            FROM unnest(p_ids, p_contents) AS g (id, content)
            WHERE (SELECT true FROM {schema}.inbox_0 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM {schema}.inbox_1 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM {schema}.inbox_3 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
            ON CONFLICT DO NOTHING
            RETURNING id
        )
        SELECT array_agg(n.id) INTO v_new FROM noted n;
    ELSE
        WITH noted AS (
            INSERT INTO {schema}.inbox_3 (consumer, id, content)
            SELECT p_consumer, g.id, g.content
            FROM unnest(p_ids, p_contents) AS g (id, content)
            WHERE (SELECT true FROM {schema}.inbox_0 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM {schema}.inbox_1 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
              AND (SELECT true FROM {schema}.inbox_2 o WHERE o.consumer = p_consumer AND o.id = g.id) IS NULL
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
        SELECT i.id, i.content FROM {schema}.inbox_0 i WHERE i.consumer = p_consumer AND i.id = g.id
        UNION ALL
        SELECT i.id, i.content FROM {schema}.inbox_1 i WHERE i.consumer = p_consumer AND i.id = g.id
        UNION ALL
        SELECT i.id, i.content FROM {schema}.inbox_2 i WHERE i.consumer = p_consumer AND i.id = g.id
        UNION ALL
        SELECT i.id, i.content FROM {schema}.inbox_3 i WHERE i.consumer = p_consumer AND i.id = g.id
    ) o
    WHERE g.id <> ALL (coalesce(v_new, '{}'));
END
$function$;

-- Empties the partitions of which everything is older than p_keep, and opens another one when the open one has been so for a third of
-- that: then one of the four is always empty when it is needed.
--
-- Where there is nothing to do it takes no lock. Otherwise see inbox_ring: it waits for the transactions that have noted ids, as long as
-- `lock_timeout`, and new ones wait behind it.
CREATE FUNCTION {schema}.rotate_inbox(p_keep interval)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_now       timestamp with time zone := clock_timestamp();
    v_partition smallint;
    v_has_ids   boolean;
BEGIN
    IF NOT EXISTS (
        SELECT 1
        FROM {schema}.inbox_ring r
        WHERE r.closed_at <= v_now - p_keep OR (r.closed_at IS NULL AND r.opened_at <= v_now - p_keep / 3)
    ) THEN
        RETURN;
    END IF;
    LOCK TABLE {schema}.inbox_ring IN SHARE ROW EXCLUSIVE MODE;
    -- Nothing that was noted under the lock is older.
    v_now := clock_timestamp();

    SELECT r.partition INTO v_partition
    FROM {schema}.inbox_ring r
    WHERE r.closed_at IS NULL AND r.opened_at <= v_now - p_keep / 3;
    IF FOUND THEN
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM {schema}.%I)', 'inbox_' || v_partition) INTO v_has_ids;
        IF v_has_ids THEN
            UPDATE {schema}.inbox_ring r SET closed_at = v_now WHERE r.partition = v_partition;
        ELSE
            UPDATE {schema}.inbox_ring r SET opened_at = v_now WHERE r.partition = v_partition;
        END IF;
    END IF;

    FOR v_partition IN
        SELECT r.partition FROM {schema}.inbox_ring r WHERE r.closed_at <= v_now - p_keep ORDER BY r.closed_at
    LOOP
        EXECUTE format('TRUNCATE {schema}.%I', 'inbox_' || v_partition);
        UPDATE {schema}.inbox_ring r SET opened_at = NULL, closed_at = NULL WHERE r.partition = v_partition;
    END LOOP;

    IF NOT EXISTS (SELECT 1 FROM {schema}.inbox_ring r WHERE r.opened_at IS NOT NULL AND r.closed_at IS NULL) THEN
        SELECT r.partition INTO v_partition
        FROM {schema}.inbox_ring r
        WHERE r.opened_at IS NULL
        ORDER BY r.partition
        LIMIT 1;
        IF NOT FOUND THEN
            -- Only if it is called with a longer time than before: the last one stays open for longer.
            UPDATE {schema}.inbox_ring r SET closed_at = NULL WHERE r.closed_at = v_now;
        ELSE
            UPDATE {schema}.inbox_ring r SET opened_at = v_now WHERE r.partition = v_partition;
        END IF;
    END IF;
END
$function$;

REVOKE ALL ON FUNCTION {schema}.receive_messages, {schema}.rotate_inbox FROM PUBLIC;
