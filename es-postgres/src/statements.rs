//! The SQL of this crate, made for one schema.

use es_core::{ConsumerName, StoreError, TableNames};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// The longest name of a schema, in bytes. Short enough to be part of a channel's name.
pub const MAX_SCHEMA_NAME_BYTES: usize = 50;

/// The name of a schema, checked so that it is safe between double and between single quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SchemaName(String);

impl SchemaName {
    pub(crate) fn new(name: &str) -> Result<Self, StoreError> {
        let allowed = |(at, c): (usize, char)| c.is_ascii_lowercase() || c == '_' || (at > 0 && c.is_ascii_digit());
        let is_usable = (1..=MAX_SCHEMA_NAME_BYTES).contains(&name.len())
            && name.char_indices().all(allowed)
            // PostgreSQL keeps these for itself.
            && !name.starts_with("pg_");
        if !is_usable {
            return Err(StoreError::Setup {
                problem: format!("the schema name {name:?} cannot be used"),
                remedy: format!(
                    "use 1 to {MAX_SCHEMA_NAME_BYTES} lower-case ASCII letters, digits and '_', a letter first, and not pg_"
                ),
                source: None,
            });
        }
        Ok(Self(name.to_owned()))
    }

    /// As it stands in catalogs.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As it stands in SQL.
    pub(crate) fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// The channel on which the heads of this schema's log are told.
    pub(crate) fn channel(&self) -> String {
        format!("es_head_{}", self.0)
    }

    /// Puts the schema into a text of SQL, and leaves out the comment at its start: the text is sent to the server,
    /// and is a key to look up prepared statements.
    pub(crate) fn fill(&self, template: &str) -> String {
        let body = template.lines().skip_while(|line| line.starts_with("--"));
        let mut sql = String::with_capacity(template.len());
        for line in body {
            sql.push_str(line);
            sql.push('\n');
        }
        sql.replace("{schema}", &self.quoted())
    }
}

/// A statement that needs nothing but the schema. The texts are this crate's own; values are always bound.
fn statement(schema: &SchemaName, template: &str) -> SqlStr {
    AssertSqlSafe(std::sync::Arc::<str>::from(schema.fill(template))).into_sql_str()
}

macro_rules! statements {
    ($($name:ident),* $(,)?) => {
        /// Every statement that needs nothing but the schema, by the name of its file.
        #[derive(Debug)]
        pub(crate) struct Statements {
            $(pub(crate) $name: SqlStr,)*
            pub(crate) pages: PageStatements,
            schema: SchemaName,
        }

        impl Statements {
            pub(crate) fn new(schema: &SchemaName) -> Self {
                Self {
                    $($name: statement(schema, include_str!(concat!("../sql/", stringify!($name), ".sql"))),)*
                    pages: PageStatements::new(schema),
                    schema: schema.clone(),
                }
            }
        }
    };
}

statements! {
    add_dead_letters, add_generation, add_partitions, append, applied_migrations, begin_page, blob, change_parked,
    checkpoint, checkpoints, claim_build, claim_checkpoint, claim_lease, commit_records, confirm_outbox,
    create_migrations, dead_letter_edits, dead_letter_totals, dead_letters, deregister, discard_dead_letters,
    discard_parked, drop_blobs, edit_dead_letter, edit_parked, enqueue, fail_dead_letter, find_append, find_misfit,
    find_outcome, flush, flush_at_commit, forget_parked, freeze_checkpoint, generations, has_schema, head, heartbeat,
    inbox_stats, is_pipelined, lease_holder, leases, load_snapshot, lock_as_listener, lock_generations, lock_migrations,
    lock_parked_key, lock_partition_epoch, lock_partitions, lock_records, lock_views, members, move_checkpoint,
    move_due, note_failed_retry, note_operation, notify, operations, outbox_stats, parked_among, parked_events,
    parked_queue, parked_queues, parked_totals, parking_history, partitions, put_blob, read_outbox, read_tails,
    receive_messages, record_migration, record_parking, records, release_build, release_lease, remove_consumer,
    remove_generation, remove_partitions, request_dead_letter_retries, request_retry, reset_checkpoint,
    resolve_dead_letter, resume, retry_requests, revoke_leases, rotate_inbox, save_snapshot, scan_records,
    scan_records_down, seize_lease, server_version, session, set_generation_state, set_lock_timeout, set_pipelined,
    start_checkpoint, suspend, suspensions, tidy_outbox, waiting_on,
}

/// How pages of events are read: two statements for each kind of page, made of the same texts.
#[derive(Debug)]
pub(crate) struct PageStatements {
    pub(crate) of_stream: PageStatement,
    pub(crate) of_all: PageStatement,
    pub(crate) of_category: PageStatement,
    pub(crate) of_many: PageStatement,
}

/// The two statements of one kind of page. Both take: $1 after what, $2 events, $3 bytes, and then what the condition needs.
#[derive(Debug)]
pub(crate) struct PageStatement {
    /// Without large payloads, of which there are few; adding up bytes costs as much as all the rest.
    pub(crate) small: SqlStr,
    /// From a large payload on.
    pub(crate) large: SqlStr,
}

impl PageStatements {
    /// $4 the stream.
    const OF_STREAM: (&str, &str) = ("o.stream = $4 AND o.version > $1", "o.version");
    /// $4 up to which position.
    const OF_ALL: (&str, &str) = ("o.position > $1 AND o.position <= $4", "o.position");
    /// $4 up to which position, $5 category, $6 event types or null for all.
    ///
    /// Compared as pairs, which the index on (category, position) alone can answer. `o.category = $5` follows from them,
    /// and is left out: it would let the scan begin at the first event of the category. The subqueries hide the values
    /// from the planner, which would otherwise plan every single page for its values; that takes as long as
    /// the page itself.
    const OF_CATEGORY: (&str, &str) = (
        "(o.category, o.position) > ((SELECT $5::text), (SELECT $1::bigint))
  AND (o.category, o.position) <= ((SELECT $5::text), (SELECT $4::bigint))
  AND ($6::text[] IS NULL OR o.type = ANY ($6))",
        "o.category, o.position",
    );
    /// $4 up to which position, $5 whole categories, $6 and $7 categories and event types in pairs, $8 streams.
    const OF_MANY: (&str, &str) = (
        "o.position > $1 AND o.position <= $4
  AND (o.category IN (SELECT unnest($5::text[]))
       OR (o.category, o.type) IN (SELECT * FROM unnest($6::text[], $7::text[]))
       OR o.stream IN (SELECT unnest($8::text[])))",
        "o.position",
    );

    fn new(schema: &SchemaName) -> Self {
        let compose = |frame: &str, (which, order): (&str, &str)| {
            let make = |events: &str| {
                let events = schema.fill(events).replace("{which}", which).replace("{order}", order);
                let sql = schema.fill(frame).replace("{events}", events.trim_end());
                AssertSqlSafe(std::sync::Arc::<str>::from(sql)).into_sql_str()
            };
            PageStatement {
                small: make(include_str!("../sql/read_events.sql")),
                large: make(include_str!("../sql/read_large_events.sql")),
            }
        };
        let with_head = include_str!("../sql/read_all.sql");
        Self {
            of_stream: compose("{events}", Self::OF_STREAM),
            of_all: compose(with_head, Self::OF_ALL),
            of_category: compose(with_head, Self::OF_CATEGORY),
            of_many: compose(with_head, Self::OF_MANY),
        }
    }
}

/// A statement about the table of one view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ViewStatement(&'static str);

impl ViewStatement {
    pub(crate) const HAS_VIEW: Self = Self(include_str!("../sql/has_view.sql"));
    pub(crate) const CREATE: Self = Self(include_str!("../sql/create_view.sql"));
    pub(crate) const GET: Self = Self(include_str!("../sql/documents.sql"));
    pub(crate) const LIST: Self = Self(include_str!("../sql/list_documents.sql"));
    pub(crate) const TOP: Self = Self(include_str!("../sql/top_documents.sql"));
    pub(crate) const BY_FIELD: Self = Self(include_str!("../sql/documents_by_field.sql"));
    pub(crate) const BY_FIELD_DOWN: Self = Self(include_str!("../sql/documents_by_field_down.sql"));
    pub(crate) const SAVE: Self = Self(include_str!("../sql/save_documents.sql"));
    pub(crate) const PUT: Self = Self(include_str!("../sql/put_documents.sql"));
    pub(crate) const DELETE: Self = Self(include_str!("../sql/delete_documents.sql"));
    pub(crate) const CLEAR: Self = Self(include_str!("../sql/clear_view.sql"));
    pub(crate) const TRUNCATE: Self = Self(include_str!("../sql/truncate_view.sql"));
    pub(crate) const SHOW: Self = Self(include_str!("../sql/show_view.sql"));
    pub(crate) const DROP: Self = Self(include_str!("../sql/drop_view.sql"));
    pub(crate) const DROP_LIVE: Self = Self(include_str!("../sql/drop_live_view.sql"));
    pub(crate) const ALL: Self = Self(include_str!("../sql/all_documents.sql"));
}

/// A statement about a table of a projection that has generations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableStatement(&'static str);

impl TableStatement {
    pub(crate) const SHOW: Self = Self(include_str!("../sql/show_table.sql"));
    pub(crate) const HAS_STABLE: Self = Self(include_str!("../sql/has_stable.sql"));
    pub(crate) const DROP_STABLE: Self = Self(include_str!("../sql/drop_stable.sql"));
    pub(crate) const DROP_STABLE_IF_ANY: Self = Self(include_str!("../sql/drop_stable_if_any.sql"));
    pub(crate) const GRANTS: Self = Self(include_str!("../sql/grants_of_stable.sql"));
    pub(crate) const DROP: Self = Self(include_str!("../sql/drop_table.sql"));
    pub(crate) const KEY_COLUMNS: Self = Self(include_str!("../sql/key_columns.sql"));
    pub(crate) const ALL: Self = Self(include_str!("../sql/all_rows.sql"));
}

impl Statements {
    /// A statement about the table of a view, or for its live generation about what stands for it. A [`ConsumerName`] is
    /// a safe part of an identifier.
    pub(crate) fn of_view(&self, statement: ViewStatement, view: &ConsumerName) -> SqlStr {
        let (schema, base) = (self.schema.quoted(), view.base_text());
        let live = format!("{schema}.\"view_{base}\"");
        let table = match view.generation() {
            Some(generation) => format!("{schema}.\"view_{base}@{generation}\""),
            None => live.clone(),
        };
        let sql = self.schema.fill(statement.0).replace("{view}", &table).replace("{live}", &live);
        AssertSqlSafe(sql).into_sql_str()
    }

    /// A statement about the table that readers find as `stable`, in one generation. The name is one of
    /// [`TableNames`]'s, which checks it; `key` is this crate's own.
    pub(crate) fn of_table(
        &self,
        statement: TableStatement,
        generation: &ConsumerName,
        stable: &str,
        key: &str,
    ) -> SqlStr {
        let quoted = |name: &str| format!("\"{}\"", name.replace('.', "\".\""));
        let table = quoted(&TableNames::of(generation, stable));
        let sql = self.schema.fill(statement.0).replace("{table}", &table).replace("{stable}", &quoted(stable));
        AssertSqlSafe(sql.replace("{key}", key)).into_sql_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_name_that_could_leave_its_quotes_is_refused() {
        let longest = "x".repeat(MAX_SCHEMA_NAME_BYTES);
        for name in ["es", "_a1", longest.as_str()] {
            assert!(SchemaName::new(name).is_ok(), "{name}");
        }
        let too_long = "x".repeat(MAX_SCHEMA_NAME_BYTES + 1);
        for name in ["", "1a", "a\"b", "a'b", "a b", "A", "é", "pg_es", "a\0", too_long.as_str()] {
            assert!(matches!(SchemaName::new(name), Err(StoreError::Setup { .. })), "{name}");
        }
    }

    #[test]
    fn statements_name_the_schema_and_lose_their_header() -> Result<(), StoreError> {
        let statements = Statements::new(&SchemaName::new("shop")?);
        let sql = statements.checkpoint.as_str();
        assert!(sql.starts_with("SELECT"), "{sql}");
        assert!(sql.contains("FROM \"shop\".checkpoints"), "{sql}");
        let view = ConsumerName::new("balance")?;
        let sql = statements.of_view(ViewStatement::CLEAR, &view);
        assert_eq!(sql.as_str(), "DELETE FROM \"shop\".\"view_balance@1\"\n");
        Ok(())
    }
}
