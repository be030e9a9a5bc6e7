//! Consumers that leave a trace: which process applied which event, in which order. Plain inserts that nothing protects from
//! duplicates, so that what is there in the end shows what was applied twice, not at all, or by whom it should not have been.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use es_core::{HandlerError, Position, Projection, Reactor, Recorded};
use es_testkit::bank::AccountEvent;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

/// Stops a handler before one event until a file is there.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    before: Option<Position>,
    folder: PathBuf,
    process: String,
}

impl Gate {
    /// A gate of a process before an event, by files in a folder.
    pub fn before(position: Position, folder: &Path, process: &str) -> Self {
        Self { before: Some(position), folder: folder.to_owned(), process: process.to_owned() }
    }

    /// Lets a process through, now or when it comes.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn open(folder: &Path, process: &str) {
        fs::write(Self::file(folder, process, "open"), "").expect("the gate opens");
    }

    /// Whether a process has come to its gate.
    pub fn is_reached(folder: &Path, process: &str) -> bool {
        Self::file(folder, process, "reached").exists()
    }

    /// Why what a process wanted to write behind its gate was refused, if it was.
    pub fn refusal(folder: &Path, process: &str) -> Option<String> {
        fs::read_to_string(Self::file(folder, process, "refused")).ok().filter(|why| !why.is_empty())
    }

    fn file(folder: &Path, process: &str, what: &str) -> PathBuf {
        folder.join(format!("gate.{process}.{what}"))
    }

    async fn pass(&self, position: Position) -> Result<(), HandlerError> {
        if self.before == Some(position) {
            fs::write(Self::file(&self.folder, &self.process, "reached"), "")?;
            while !Self::file(&self.folder, &self.process, "open").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    fn note<T>(&self, result: Result<T, sqlx::Error>) -> Result<(), HandlerError> {
        if let (Err(error), Some(_)) = (&result, self.before) {
            fs::write(Self::file(&self.folder, &self.process, "refused"), error.to_string())?;
        }
        result?;
        Ok(())
    }
}

/// A projection that adds a row for each event, on PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgTrace {
    /// Its name, and its table's.
    pub name: &'static str,
    /// Where its table is.
    pub schema: String,
    /// Who writes.
    pub process: String,
    /// Where it waits.
    pub gate: Gate,
}

/// The same on SQLite.
#[derive(Debug, Clone)]
pub struct SqliteTrace {
    /// Its name, and its table's.
    pub name: &'static str,
    /// Who writes.
    pub process: String,
    /// Where it waits.
    pub gate: Gate,
}

impl Projection for PgTrace {
    type Connection = PgConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        self.name
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {}.{} (number bigserial, position bigint NOT NULL, stream text NOT NULL, \
             process text NOT NULL)",
            self.schema, self.name
        );
        sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut PgConnection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.gate.pass(event.position()).await?;
        let sql = format!("INSERT INTO {}.{} (position, stream, process) VALUES ($1, $2, $3)", self.schema, self.name);
        let insert = sqlx::query(AssertSqlSafe(sql)).bind(event.position().get() as i64);
        let insert = insert.bind(event.stream().as_str().to_owned()).bind(&self.process);
        self.gate.note(insert.execute(connection).await)
    }

    async fn clear(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {}.{}", self.schema, self.name))).execute(connection).await?;
        Ok(())
    }
}

impl Projection for SqliteTrace {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        self.name
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (number INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER NOT NULL, \
             stream TEXT NOT NULL, process TEXT NOT NULL)",
            self.name
        );
        sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut SqliteConnection,
        event: &Recorded<AccountEvent>,
    ) -> Result<(), HandlerError> {
        self.gate.pass(event.position()).await?;
        let sql = format!("INSERT INTO {} (position, stream, process) VALUES (?, ?, ?)", self.name);
        let insert = sqlx::query(AssertSqlSafe(sql)).bind(event.position().get() as i64);
        let insert = insert.bind(event.stream().as_str().to_owned()).bind(&self.process);
        self.gate.note(insert.execute(connection).await)
    }

    async fn clear(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {}", self.name))).execute(connection).await?;
        Ok(())
    }
}

/// One application of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Which event.
    pub position: Position,
    /// Of which stream.
    pub stream: String,
    /// By whom.
    pub process: String,
}

/// Where a store is.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file.
    Sqlite {
        /// Which.
        file: PathBuf,
    },
    /// In a schema of a server.
    Postgres {
        /// The server.
        url: String,
        /// The schema.
        schema: String,
    },
}

impl Place {
    /// What a trace holds, in the order in which it was written.
    ///
    /// # Panics
    /// If it cannot be read.
    pub async fn trace(&self, name: &str) -> Vec<Applied> {
        let rows: Vec<(i64, String, String)> = match self {
            Self::Sqlite { file } => {
                let url = format!("sqlite:{}", file.display());
                let mut connection = SqliteConnection::connect(&url).await.expect("the file opens");
                let sql = format!("SELECT position, stream, process FROM {name} ORDER BY number");
                sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("the trace")
            }
            Self::Postgres { url, schema } => {
                let mut connection = PgConnection::connect(url).await.expect("the server accepts connections");
                let sql = format!("SELECT position, stream, process FROM {schema}.{name} ORDER BY number");
                sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("the trace")
            }
        };
        let applied = |(position, stream, process): (i64, String, String)| Applied {
            position: Position::new(position.unsigned_abs()),
            stream,
            process,
        };
        rows.into_iter().map(applied).collect()
    }
}

/// A reactor whose effects are lines in a file.
#[derive(Debug, Clone)]
pub struct Effects {
    /// Its name, and its file's.
    pub name: &'static str,
    /// Where the file is.
    pub folder: PathBuf,
    /// Who writes.
    pub process: String,
    /// Where it waits.
    pub gate: Gate,
}

impl Reactor for Effects {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        self.name
    }

    async fn react(&self, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.gate.pass(event.position()).await?;
        let line = format!("{} {} {}\n", event.position(), event.stream(), self.process);
        let mut file = OpenOptions::new().append(true).create(true).open(effects_file(&self.folder, self.name))?;
        // By one call, so that a line is there or not, whoever else writes and whenever the process is killed.
        file.write_all(line.as_bytes())?;
        Ok(())
    }
}

fn effects_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("effects.{name}"))
}

/// The effects so far, in their order.
///
/// # Panics
/// If a line is not one that a reactor writes.
pub fn effects(folder: &Path, name: &str) -> Vec<Applied> {
    let text = fs::read_to_string(effects_file(folder, name)).unwrap_or_default();
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [position, stream, process] = words[..] else { panic!("not the line of an effect: {line:?}") };
        let position = Position::new(position.parse().expect("a position"));
        Applied { position, stream: stream.to_owned(), process: process.to_owned() }
    };
    text.lines().map(line).collect()
}
