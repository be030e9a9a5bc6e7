//! Brings the schema up to date, forward only.
//!
//! Everything that is missing is applied in one transaction, under a lock, so that several processes may start at once.
//! A schema that is up to date is only read: no lock, and no privilege to create anything.

use es_core::StoreError;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, SqlStr, postgres::PgArguments, query::Query};

use crate::{
    error::store_error,
    rows::get,
    statements::{SchemaName, Statements},
};

/// The oldest server that works, as `server_version_num` has it.
const OLDEST_SERVER: i32 = 150_000;

/// One step from an older schema to a newer one.
struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

/// All steps. One that was released is never changed: databases remember what it was.
const MIGRATIONS: [Migration; 10] = [
    Migration { version: 1, name: "log", sql: include_str!("../migrations/0001_log.sql") },
    Migration { version: 2, name: "append", sql: include_str!("../migrations/0002_append.sql") },
    Migration { version: 3, name: "consumers", sql: include_str!("../migrations/0003_consumers.sql") },
    Migration { version: 4, name: "control", sql: include_str!("../migrations/0004_control.sql") },
    Migration { version: 5, name: "parking", sql: include_str!("../migrations/0005_parking.sql") },
    Migration { version: 6, name: "inbox", sql: include_str!("../migrations/0006_inbox.sql") },
    Migration { version: 7, name: "dead_letters", sql: include_str!("../migrations/0007_dead_letters.sql") },
    Migration { version: 8, name: "blobs", sql: include_str!("../migrations/0008_blobs.sql") },
    Migration { version: 9, name: "outbox", sql: include_str!("../migrations/0009_outbox.sql") },
    Migration { version: 10, name: "records", sql: include_str!("../migrations/0010_records.sql") },
];

/// The names of the tables, sequences and functions that the migrations create.
pub(crate) fn own_names() -> impl Iterator<Item = &'static str> {
    let created = MIGRATIONS.iter().flat_map(|migration| migration.sql.lines()).filter_map(|line| {
        let what = line.strip_prefix("CREATE ")?;
        let what = ["TABLE ", "SEQUENCE ", "FUNCTION "].iter().find_map(|kind| what.strip_prefix(kind))?;
        what.strip_prefix("{schema}.")?.split([' ', '(', ';']).next()
    });
    created.chain(["es_migrations"])
}

/// A migration that a database remembers.
struct Applied {
    version: i32,
    name: String,
    checksum: String,
}

/// Makes sure that the schema is as this version of the library needs it.
pub(crate) struct Migrator<'a> {
    pub(crate) schema: &'a SchemaName,
    pub(crate) statements: &'a Statements,
    /// Whether to change what is not up to date, or to refuse it.
    pub(crate) migrate: bool,
}

impl Migrator<'_> {
    /// # Errors
    /// [`StoreError::Setup`] for a server that is too old, a schema of a newer version or with changed migrations, and for
    /// one that is not up to date and may not be changed.
    pub(crate) async fn run(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        // Statements that a pooler understands, whichever connection of the server it gives to each transaction.
        let mut transaction = connection.begin().await.map_err(store_error)?;
        self.check_server(&mut transaction).await?;
        let applied = self.applied(&mut transaction).await?;
        transaction.commit().await.map_err(store_error)?;
        let missing = self.missing(&applied)?;
        if missing.is_empty() {
            return Ok(());
        }
        if !self.migrate {
            return Err(StoreError::Setup {
                problem: format!("the schema {} lacks {} migrations", self.schema.as_str(), missing.len()),
                remedy: "connect once with PgOptions::migrate(true), as a role that may change it".to_owned(),
                source: None,
            });
        }
        let mut transaction = connection.begin().await.map_err(store_error)?;
        self.apply_missing(&mut transaction).await?;
        transaction.commit().await.map_err(store_error)
    }

    async fn check_server(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let row = query(&self.statements.server_version).fetch_one(connection).await.map_err(store_error)?;
        let version: i32 = get(&row, 0)?;
        if version < OLDEST_SERVER {
            return Err(StoreError::Setup {
                problem: format!("the server is PostgreSQL {}", version / 10_000),
                remedy: format!("use version {} or newer", OLDEST_SERVER / 10_000),
                source: None,
            });
        }
        Ok(())
    }

    /// The migrations that the database remembers; none if there is no schema yet.
    async fn applied(&self, connection: &mut PgConnection) -> Result<Vec<Applied>, StoreError> {
        if !self.exists(connection).await?.table {
            return Ok(Vec::new());
        }
        let rows = query(&self.statements.applied_migrations).fetch_all(connection).await.map_err(store_error)?;
        rows.iter()
            .map(|row| Ok(Applied { version: get(row, 0)?, name: get(row, 1)?, checksum: get(row, 2)? }))
            .collect()
    }

    async fn exists(&self, connection: &mut PgConnection) -> Result<Exists, StoreError> {
        let query = query(&self.statements.has_schema).bind(self.schema.as_str());
        let row = query.fetch_one(connection).await.map_err(store_error)?;
        Ok(Exists { schema: get(&row, 0)?, table: get(&row, 1)? })
    }

    /// The migrations that the database lacks.
    fn missing(&self, applied: &[Applied]) -> Result<&'static [Migration], StoreError> {
        for (index, applied) in applied.iter().enumerate() {
            let refuse = |problem: String, remedy: &str| {
                Err(StoreError::Setup { problem, remedy: remedy.to_owned(), source: None })
            };
            let schema = self.schema.as_str();
            match MIGRATIONS.get(index) {
                None => {
                    return refuse(
                        format!(
                            "the schema {schema} is at version {}, and this program knows versions up to {}",
                            applied.version,
                            MIGRATIONS.len()
                        ),
                        "use the newer version of this library that made it",
                    );
                }
                Some(own) if own.version != applied.version || checksum(own.sql) != applied.checksum => {
                    return refuse(
                        format!(
                            "migration {} ({}) of the schema {schema} is not the one that this program knows",
                            applied.version, applied.name
                        ),
                        "use the version of this library that made it, or start with an empty schema",
                    );
                }
                Some(_) => {}
            }
        }
        Ok(&MIGRATIONS[applied.len().min(MIGRATIONS.len())..])
    }

    async fn apply_missing(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let lock = query(&self.statements.lock_migrations).bind(self.schema.as_str());
        lock.execute(&mut *connection).await.map_err(store_error)?;
        // Another process may have been here while this one waited.
        let exists = self.exists(connection).await?;
        if !exists.schema {
            // Only where it is missing: IF NOT EXISTS asks for the privilege to create one even where it is there.
            let create = format!("CREATE SCHEMA IF NOT EXISTS {}", self.schema.quoted());
            run(connection, create).await?;
        }
        if !exists.table {
            run(connection, self.statements.create_migrations.as_str().to_owned()).await?;
        }
        let applied = self.applied(connection).await?;
        for migration in self.missing(&applied)? {
            tracing::info!(schema = self.schema.as_str(), version = migration.version, "migrating: {}", migration.name);
            run(connection, self.schema.fill(migration.sql)).await?;
            let record = query(&self.statements.record_migration)
                .bind(migration.version)
                .bind(migration.name)
                .bind(checksum(migration.sql));
            record.execute(&mut *connection).await.map_err(store_error)?;
        }
        Ok(())
    }
}

struct Exists {
    schema: bool,
    table: bool,
}

/// A statement that is needed once.
fn query(sql: &SqlStr) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(sql.clone()).persistent(false)
}

/// Runs a script of this crate's own.
async fn run(connection: &mut PgConnection, script: String) -> Result<(), StoreError> {
    sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Tells a migration from another one (FNV-1a, 64 bits). It guards against accidents; line ends do not count.
fn checksum(sql: &str) -> String {
    let hash = sql
        .bytes()
        .filter(|&byte| byte != b'\r')
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        let versions: Vec<i32> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..).take(versions.len()).collect::<Vec<_>>());
    }

    #[test]
    fn a_checksum_sees_every_character_but_those_of_line_ends() {
        assert_eq!(checksum(""), "cbf29ce484222325");
        assert_eq!(checksum("a"), "af63dc4c8601ec8c");
        assert_eq!(checksum("a\r\n"), checksum("a\n"));
        assert_ne!(checksum("SELECT 1"), checksum("SELECT 2"));
    }
}
