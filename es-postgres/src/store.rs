//! The store: its connections, and the contract of an event store.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use es_core::{
    Append, Appended, Bookmark, CommandQueue, EventFilter, EventPage, EventStore, IdempotencyKey, PageSize, Position,
    StoreError, StreamId, StreamPage, Version, Wakeups, limits,
};
use sqlx::{
    Connection, PgConnection, PgPool, Postgres, SqlStr, Transaction, pool::PoolConnection, postgres::PgArguments,
    query::Query,
};
use tokio::task::JoinError;

use crate::{
    append::{self, Commit},
    config::PgOptions,
    connections::{Liveness, is_lost_connection},
    durability::Durability,
    error::{acquire_error, store_error},
    handler_scope,
    inline::Inline,
    read_all::{check_places, read_all},
    read_stream::read_stream,
    rows::get_position,
    statements::{SchemaName, Statements},
    tails::Tails,
    unit_of_work::UnitOfWork,
    wakeups::Signals,
    writer::Writers,
};

/// An event store in one schema of a PostgreSQL database (version 15 or newer).
///
/// It implements [`EventStore`], [`SnapshotStore`](es_core::SnapshotStore), [`ConsumerStore`](es_core::ConsumerStore),
/// and [`ProjectionStore`](es_core::ProjectionStore), whose projections write with a [`PgConnection`]. A clone is
/// another handle to the same store with the same connections. Several stores, in one or many processes, can work on
/// one schema. Positions have no gaps and follow commit order across all of them.
///
/// The store's background tasks run on the runtime on which it was connected. They end when the last handle is dropped
/// or the store is [`close`](Self::close)d.
///
/// ```no_run
/// # async fn example() -> Result<(), es_core::StoreError> {
/// use es_core::{Append, EventStore, EventType, ExpectedVersion, NewEvent, Payload, StreamId};
/// use es_postgres::PgStore;
///
/// let store = PgStore::connect("postgres://shop@localhost/shop").await?;
/// let opened = NewEvent::new(EventType::new("Opened")?, Payload::trusted(r#"{"owner":"Ann"}"#));
/// let append = Append::to(StreamId::new("account", "ann")?, ExpectedVersion::NoStream, vec![opened]).build()?;
/// let appended = store.append(&append).await?;
/// println!("stored at position {}", appended.last_position);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PgStore {
    pub(crate) shared: Arc<Shared>,
}

/// The state that all handles to a store share.
pub(crate) struct Shared {
    pub(crate) pool: PgPool,
    pub(crate) schema: SchemaName,
    pub(crate) statements: Arc<Statements>,
    pub(crate) settings: Settings,
    pub(crate) inline: Vec<Inline>,
    pub(crate) signals: Signals,
    /// The connections of the writers.
    pub(crate) append_pool: PgPool,
    pub(crate) writers: Writers,
    /// The connection of the reader of tails.
    pub(crate) tail_pool: PgPool,
    pub(crate) tails: Tails,
    pub(crate) durability: Durability,
    pub(crate) command_queue: CommandQueue,
    pub(crate) liveness: Arc<Liveness>,
    /// The statement that begins every transaction of the store.
    pub(crate) begin: SqlStr,
}

/// Begins every transaction of the store at this level, whatever the defaults of the database are.
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// The settings, which do not change after the store is connected.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) lock_timeout: Duration,
    pub(crate) acquire_timeout: Duration,
    pub(crate) max_payload_bytes: usize,
    /// Whether each transaction may run on another connection: statements are not prepared, and every call is in a
    /// transaction.
    pub(crate) pgbouncer: bool,
    /// Whether appends commit without waiting for the flush, and are acknowledged after it.
    pub(crate) pipelined: bool,
}

impl PgStore {
    /// Opens the store in the schema `es` with the default settings, and migrates the schema.
    ///
    /// # Errors
    /// Returns [`StoreError::Setup`] if something is wrong with the server, the database, or the schema; the error
    /// states how to fix it.
    ///
    /// # Cancel safety
    /// Safe: a migration happens completely or not at all.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        PgOptions::new(url).connect().await
    }

    /// Returns the name of the schema.
    pub fn schema(&self) -> &str {
        self.shared.schema.as_str()
    }

    /// Appends in a transaction of the caller: the events are stored if and when the transaction commits.
    ///
    /// Every append waits until the transaction of the previous append ends. Call this method as late in the
    /// transaction as possible, or let [`begin`](Self::begin) do that. The method does not change the transaction's
    /// `synchronous_commit`. With `off`, readers may see events that a crash of the server removes. On a connection
    /// without a transaction, the append is a transaction of its own.
    ///
    /// Readers are not notified of the commit, and find the events at their next poll. Call
    /// [`announce`](Self::announce) to notify them immediately.
    ///
    /// # Errors
    /// Returns the same errors as [`EventStore::append`]. After [`StoreError::Conflict`], [`StoreError::IdReused`], and
    /// [`StoreError::Busy`], the transaction can continue. Returns [`StoreError::Refused`] at the isolation levels
    /// REPEATABLE READ and SERIALIZABLE, where the transaction cannot see what was appended after it began.
    ///
    /// # Cancel safety
    /// If the future is dropped, roll the transaction back: it may or may not contain the events.
    pub async fn append_in(&self, connection: &mut PgConnection, append: &Append) -> Result<Appended, StoreError> {
        append::check(&self.shared, append)?;
        append::append_in(&self.shared, connection, append, Commit::AsItIs).await
    }

    /// Begins a transaction for the caller's own writes and for appends, which commit together or not at all. The
    /// appends are sent at the commit, so that other writers wait as briefly as possible.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] or [`StoreError::Unavailable`] if there is no connection, and
    /// [`StoreError::Refused`] in a handler of a projection.
    ///
    /// # Cancel safety
    /// Safe: nothing has happened yet.
    pub async fn begin(&self) -> Result<UnitOfWork, StoreError> {
        self.refuse_in_handler()?;
        Ok(UnitOfWork::new(self.clone(), self.shared.transaction().await?))
    }

    /// Notifies readers, in this and other processes, that there are events up to a position. This is only necessary
    /// after the commit of a transaction with [`append_in`](Self::append_in).
    pub fn announce(&self, position: Position) {
        self.shared.signals.announce(position, true);
    }

    /// Closes all connections after current calls and waiting appends, and ends the background tasks. Later calls on
    /// every handle return [`StoreError::Refused`].
    ///
    /// # Cancel safety
    /// Safe: the store is closed even if the future is dropped. Connections may then remain open for a moment.
    pub async fn close(&self) {
        // The pool is closed from here on, even before this future is awaited.
        let readers_closed = self.shared.pool.close();
        self.shared.tails.stop();
        self.shared.writers.close().await;
        self.shared.signals.stop();
        self.shared.append_pool.close().await;
        self.shared.tails.stopped().await;
        self.shared.tail_pool.close().await;
        readers_closed.await;
    }

    /// Refuses a call that would wait for itself.
    pub(crate) fn refuse_in_handler(&self) -> Result<(), StoreError> {
        handler_scope::refuse_in_handler(&self.shared)
    }
}

impl fmt::Debug for PgStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStore").field("schema", &self.schema()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Returns a connection for one statement.
    pub(crate) async fn session(&self) -> Result<Session, StoreError> {
        if self.settings.pgbouncer {
            // Parsing and binding are two messages, which must reach the same connection of the server.
            return Ok(Session::Transaction(self.transaction().await?));
        }
        self.writers.refuse_ended_runtime()?;
        let connection = self.pool.acquire().await.map_err(|error| self.acquire_error(&self.pool, error))?;
        Ok(Session::Single(connection))
    }

    /// Returns a connection in a transaction.
    pub(crate) async fn transaction(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.begin(self.begin.clone()).await
    }

    /// Returns a connection in a transaction that begins with this statement.
    pub(crate) async fn begin(&self, begin: SqlStr) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.writers.refuse_ended_runtime()?;
        let mut reconnects = limits::RECONNECTS_PER_CALL;
        loop {
            match self.try_begin(begin.clone()).await {
                // Only BEGIN was sent.
                Ok(Err(error)) if reconnects > 0 && is_lost_connection(&error) => {
                    self.liveness.note_loss();
                    reconnects -= 1;
                }
                Ok(begun) => return begun.map_err(|error| self.acquire_error(&self.pool, error)),
                // The runtime is shutting down.
                Err(error) => return Err(StoreError::Unavailable { source: error.into() }),
            }
        }
    }

    async fn try_begin(&self, begin: SqlStr) -> Result<Result<Transaction<'static, Postgres>, sqlx::Error>, JoinError> {
        let pool = self.pool.clone();
        // In a separate task that cannot be dropped before it completes. If the future is dropped while BEGIN is in
        // transit, sqlx 0.9.0 returns the connection to the pool in an open transaction (transact-rs/sqlx#4393), and
        // the next append on it would never be committed. A transaction that no caller receives is rolled back.
        tokio::spawn(async move { pool.begin_with(begin).await }).await
    }

    /// Commits a transaction in which code outside this crate has run.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] if that code ignored the failure of a statement: the server would respond to
    /// COMMIT with a rollback and report success.
    pub(crate) async fn commit(&self, mut transaction: Transaction<'static, Postgres>) -> Result<(), StoreError> {
        if !transaction.is_in_transaction() {
            return Err(StoreError::Refused { reason: "the transaction was ended by code that only borrowed it" });
        }
        sqlx::raw_sql("SELECT").execute(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    async fn head(&self) -> Result<Position, StoreError> {
        let mut session = self.session().await?;
        let row = self.query(&self.statements.head).fetch_one(&mut *session).await.map_err(store_error)?;
        session.finish().await?;
        get_position(&row, 0)
    }

    /// Returns a statement, prepared once per connection if possible.
    pub(crate) fn query(&self, sql: &SqlStr) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(sql.clone()).persistent(!self.settings.pgbouncer)
    }

    pub(crate) fn acquire_error(&self, pool: &PgPool, error: sqlx::Error) -> StoreError {
        acquire_error(pool, self.settings.acquire_timeout, error)
    }
}

/// A connection for one statement, or for one transaction if a single statement is not possible.
pub(crate) enum Session {
    Single(PoolConnection<Postgres>),
    Transaction(Transaction<'static, Postgres>),
}

impl Session {
    /// Commits the transaction, if there is one.
    pub(crate) async fn finish(self) -> Result<(), StoreError> {
        match self {
            Self::Single(_) => Ok(()),
            Self::Transaction(transaction) => transaction.commit().await.map_err(store_error),
        }
    }
}

impl Deref for Session {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        match self {
            Self::Single(connection) => connection,
            Self::Transaction(transaction) => transaction,
        }
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Single(connection) => connection,
            Self::Transaction(transaction) => transaction,
        }
    }
}

#[async_trait]
impl EventStore for PgStore {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        append::check(&self.shared, append)?;
        self.shared.writers.append(append.clone()).await
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        self.shared.reading(|| append::find_append(&self.shared, key)).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        self.shared.reading(|| read_stream(&self.shared, stream, after, page)).await
    }

    async fn read_tail(&self, stream: &StreamId, after: Version) -> Result<StreamPage, StoreError> {
        match self.shared.tails.read(stream, after).await {
            Some(page) => Ok(page),
            None => EventStore::read_stream(self, stream, after, PageSize::default()).await,
        }
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        filter.check()?;
        match self.shared.signals.recent.read(after, filter, page) {
            Some(page) => Ok(page),
            None => self.shared.reading(|| read_all(&self.shared, after, filter, page)).await,
        }
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.shared.reading(|| self.shared.head()).await
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        let mut session = self.shared.session().await?;
        let checked = check_places(&self.shared, &mut session, std::iter::once(seen)).await;
        session.finish().await?;
        if checked.is_err() {
            self.forget_recent();
        }
        checked
    }

    fn forget_recent(&self) {
        self.shared.signals.recent.clear();
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.shared.reading(|| self.shared.wait_durable(position)).await
    }

    fn wakeups(&self) -> Wakeups {
        self.shared.signals.subscribe()
    }

    fn command_queue(&self) -> CommandQueue {
        self.shared.command_queue.clone()
    }
}
