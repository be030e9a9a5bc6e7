-- Group roles for a store, by what a program does with it; docs/operations.md says which one to give to which program.
-- A script of several statements, written by es_postgres::roles_script. Run it as a superuser after the first migration, and again after each later one.
-- {schema} is replaced by the store's quoted schema name, {name} by the name itself, {own} by the store's own tables.
DO $roles$
DECLARE
    v_suffix text;
    v_object record;
BEGIN
    FOREACH v_suffix IN ARRAY ARRAY['reader', 'writer', 'projector', 'operator', 'admin'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = '{name}_' || v_suffix) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', '{name}_' || v_suffix);
        END IF;
    END LOOP;

    -- The store belongs to the administrator, read models to the projector.
    ALTER SCHEMA {schema} OWNER TO "{name}_admin";
    GRANT USAGE, CREATE ON SCHEMA {schema} TO "{name}_projector";
    FOR v_object IN
        SELECT c.oid::pg_catalog.regclass AS name, c.relname = ANY ('{own}'::text[]) AS is_own
        FROM pg_catalog.pg_class c
        WHERE c.relnamespace = '{schema}'::pg_catalog.regnamespace
          -- Sequences of columns belong to their table's owner.
          AND (c.relkind IN ('r', 'p', 'v', 'm') OR (c.relkind = 'S' AND c.relname = ANY ('{own}'::text[])))
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO %I', v_object.name,
                                  CASE WHEN v_object.is_own THEN '{name}_admin' ELSE '{name}_projector' END);
    END LOOP;
    FOR v_object IN
        SELECT p.oid::pg_catalog.regprocedure AS name
        FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = '{schema}'::pg_catalog.regnamespace AND p.proname = ANY ('{own}'::text[])
    LOOP
        EXECUTE pg_catalog.format('ALTER ROUTINE %s OWNER TO %I', v_object.name, '{name}_admin');
    END LOOP;
END
$roles$;

-- Reads the log, read models and the state of consumers. Not messages: they may hold more than the log.
GRANT USAGE ON SCHEMA {schema} TO "{name}_reader";
GRANT SELECT ON
    {schema}.es_migrations, {schema}.events, {schema}.appends, {schema}.log_floor, {schema}.snapshots,
    {schema}.checkpoints, {schema}.leases, {schema}.members, {schema}.generations, {schema}.suspensions, {schema}.operations,
    {schema}.parked_keys, {schema}.parked_events, {schema}.parking_history, {schema}.records
TO "{name}_reader";
ALTER DEFAULT PRIVILEGES FOR ROLE "{name}_projector" IN SCHEMA {schema} GRANT SELECT ON TABLES TO "{name}_reader";

-- Appends, writes messages to the outbox, and keeps snapshots. It has no right on the tables of the log but to read them.
GRANT "{name}_reader" TO "{name}_writer";
GRANT EXECUTE ON FUNCTION
    {schema}.append, {schema}.use_pipelined, {schema}.enqueue, {schema}.commit_records, {schema}.lock_records
TO "{name}_writer";
GRANT INSERT, UPDATE ON {schema}.snapshots TO "{name}_writer";

-- Runs projections, views, reactors, relays and message consumers, and owns the tables of read models.
GRANT "{name}_reader" TO "{name}_projector";
GRANT EXECUTE ON FUNCTION
    {schema}.event_at, {schema}.start_checkpoint, {schema}.move_checkpoint, {schema}.reset_checkpoints, {schema}.change_parked,
    {schema}.receive_messages, {schema}.rotate_inbox, {schema}.move_due, {schema}.read_outbox, {schema}.confirm_outbox,
    {schema}.tidy_outbox, {schema}.outbox_stats, {schema}.commit_records, {schema}.lock_records
TO "{name}_projector";
GRANT SELECT, INSERT, UPDATE, DELETE ON
    {schema}.checkpoints, {schema}.leases, {schema}.members, {schema}.generations, {schema}.parked_keys,
    {schema}.dead_letters, {schema}.dead_letter_totals, {schema}.blobs
TO "{name}_projector";
GRANT INSERT, DELETE ON {schema}.parked_events TO "{name}_projector";
GRANT INSERT ON {schema}.parking_history, {schema}.operations TO "{name}_projector";
GRANT SELECT ON {schema}.dead_letter_edits TO "{name}_projector";

-- Pauses, resets, rebuilds and retires consumers, and edits, retries and discards what was parked or became a dead letter.
GRANT "{name}_projector" TO "{name}_operator";
GRANT INSERT, UPDATE, DELETE ON {schema}.suspensions TO "{name}_operator";
GRANT UPDATE ON {schema}.parked_events TO "{name}_operator";
GRANT INSERT ON {schema}.dead_letter_edits TO "{name}_operator";
-- What an operator rebuilds is the projector's to keep up to date.
ALTER DEFAULT PRIVILEGES FOR ROLE "{name}_operator" IN SCHEMA {schema} GRANT ALL ON TABLES TO "{name}_projector";
ALTER DEFAULT PRIVILEGES FOR ROLE "{name}_operator" IN SCHEMA {schema} GRANT SELECT ON TABLES TO "{name}_reader";

-- Migrates: the owner of everything but read models.
GRANT "{name}_operator", "{name}_writer" TO "{name}_admin";
