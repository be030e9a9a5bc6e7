-- Small JSON values under ordered keys: the state that coordinates work.
--
-- {schema} is replaced by the store's quoted schema name.
--
-- Nobody but the owner writes the table past the functions, which keep what es_core::store::RecordStore promises. They
-- need READ COMMITTED: each of their statements sees what was committed before it began, so also before it had the
-- locks.

CREATE TABLE {schema}.records (
    key        text COLLATE "C"         NOT NULL CONSTRAINT records_pkey PRIMARY KEY,
    -- Not jsonb: the text is kept.
    value      json                     NOT NULL,
    -- The commit that wrote the record last.
    revision   uuid                     NOT NULL,
    changed_at timestamp with time zone NOT NULL
)
-- Many are written again and again: room on the page keeps that out of the index.
WITH (fillfactor = 70);

-- Locks keys whose records may come into being, and ranges in which none may, to the end of the transaction.
--
-- A row that is not there cannot be locked, so these are advisory locks on names: `a/b` is the key, `a/b/` is
-- everything below it, `/` is everything. A key takes the shared lock of all that it lies below and its own exclusive
-- one; a range takes the same for its prefix (of everything, the empty one). So a new record waits for an update of a
-- range around it, and updates wait for each other only where one range lies within the other. All take their locks in
-- one order, and rows after them.
--
-- The locks are of the kind with one number of 64 bits; the other locks of this library are of the kind with two
-- numbers.
CREATE FUNCTION {schema}.lock_record_keys(p_keys text[], p_prefixes text[]) RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
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
        SELECT hashtextextended('{schema}' || n.name, 1702064998) AS id, bool_or(n.is_exclusive) AS is_exclusive
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
$function$;

-- Commits conditions and changes of records, all or nothing. Gives the lowest key that is not as required, or null, and
-- the time.
--
-- p_keys is in bytewise order. p_conditions: 'absent', 'present', the revision that the record must have, or null.
-- p_changes: 'put', 'touch', 'delete' or null. Nothing is written before everything is checked, and what was checked
-- cannot change before the end of the transaction: records that are there are locked in the order of their keys,
-- shared where there is a condition alone; keys whose record may be missing are locked before.
--
-- Record by record and not as a set: nearly every batch is small, and a join of arrays costs more than several
-- look-ups.
CREATE FUNCTION {schema}.commit_records(
    p_keys            text[],
    p_conditions      text[],
    p_changes         text[],
    p_values          text[],
    p_revision        uuid,
    p_lock_timeout_ms integer,
    OUT failed        text,
    OUT now           timestamp with time zone
)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- The plan is cached, perhaps from when the table was empty: always use the index.
SET enable_seqscan = off
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
        PERFORM {schema}.lock_record_keys(v_unsure, '{}'::text[]);
    END IF;

    FOR i IN 1..cardinality(p_keys) LOOP
        v_key := p_keys[i];
        IF p_changes[i] IS NULL THEN
            SELECT r.revision INTO v_revision FROM {schema}.records r WHERE r.key = v_key FOR SHARE;
        ELSE
            SELECT r.revision INTO v_revision FROM {schema}.records r WHERE r.key = v_key FOR UPDATE;
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
            UPDATE {schema}.records r
            SET value = p_values[i]::json, revision = p_revision, changed_at = now
            WHERE r.key = v_key;
        ELSIF p_changes[i] = 'put' THEN
            INSERT INTO {schema}.records (key, value, revision, changed_at)
            VALUES (v_key, p_values[i]::json, p_revision, now);
        ELSIF p_changes[i] = 'touch' THEN
            UPDATE {schema}.records r SET revision = p_revision, changed_at = now WHERE r.key = v_key;
        ELSIF p_changes[i] = 'delete' THEN
            DELETE FROM {schema}.records r WHERE r.key = v_key;
        END IF;
    END LOOP;
    v_ignored := set_config('lock_timeout', v_setting, true);
END
$function$;

-- Returns the records of ranges, and prevents others from changing, adding or removing one there until the end of the
-- transaction. The last row has no key; it tells the time.
--
-- p_keys and p_prefixes say what the ranges are, for the advisory locks. p_from and p_to are the same as the first text
-- inside and the first beyond (null: there is none), and do not overlap.
CREATE FUNCTION {schema}.lock_records(
    p_keys text[], p_prefixes text[], p_from text[], p_to text[], p_limit bigint, p_lock_timeout_ms integer
) RETURNS TABLE (key text, value json, revision uuid, now timestamp with time zone)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $function$
#variable_conflict use_column
DECLARE
    v_setting text := current_setting('lock_timeout');
BEGIN
    PERFORM set_config('lock_timeout', p_lock_timeout_ms::text, true);
    PERFORM {schema}.lock_record_keys(p_keys, p_prefixes);
    RETURN QUERY
    SELECT r.key, r.value, r.revision, NULL::timestamp with time zone
    FROM unnest(p_from, p_to) AS b (first, beyond)
    JOIN {schema}.records r
        ON r.key >= b.first AND r.key < coalesce(b.beyond, (SELECT max(m.key) || '/' FROM {schema}.records m))
    ORDER BY r.key
    LIMIT p_limit
    FOR UPDATE OF r;
    RETURN QUERY SELECT NULL::text, NULL::json, NULL::uuid, clock_timestamp();
    PERFORM set_config('lock_timeout', v_setting, true);
END
$function$;

REVOKE ALL ON FUNCTION
    {schema}.lock_record_keys,
    {schema}.commit_records,
    {schema}.lock_records FROM PUBLIC;
