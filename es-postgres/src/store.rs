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

/// An event store in one schema of a PostgreSQL database (15 or newer).
///
/// It implements [`EventStore`], [`SnapshotStore`](es_core::SnapshotStore), [`ConsumerStore`](es_core::ConsumerStore) and
/// [`ProjectionStore`](es_core::ProjectionStore), whose projections write with a [`PgConnection`]. Cloning gives another
/// handle to the same store, with the same connections. Several stores, in one process or in many, may work on one
/// schema; positions are gapless and follow the order of commits over all of them.
///
/// Its background tasks run on the runtime on which it was connected, and end when the last handle is dropped or
/// [`close`](Self::close)d.
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

/// What all handles to a store share.
pub(crate) struct Shared {
    pub(crate) pool: PgPool,
    pub(crate) schema: SchemaName,
    pub(crate) statements: Arc<Statements>,
    pub(crate) settings: Settings,
    pub(crate) inline: Vec<Inline>,
    pub(crate) signals: Signals,
    /// Connections of the writers alone.
    pub(crate) append_pool: PgPool,
    pub(crate) writers: Writers,
    /// The connection of the reader of tails alone.
    pub(crate) tail_pool: PgPool,
    pub(crate) tails: Tails,
    pub(crate) durability: Durability,
    pub(crate) command_queue: CommandQueue,
    pub(crate) liveness: Arc<Liveness>,
    /// How every transaction of the store begins.
    pub(crate) begin: SqlStr,
}

/// The level at which every transaction of the store begins, whatever the defaults of the database are.
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// What does not change after the store was connected.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) lock_timeout: Duration,
    pub(crate) acquire_timeout: Duration,
    pub(crate) max_payload_bytes: usize,
    /// Whether another connection may serve each transaction: no prepared statements, and BEGIN and COMMIT around all.
    pub(crate) pgbouncer: bool,
    /// Whether appends commit without waiting for the flush, and are acknowledged after it.
    pub(crate) pipelined: bool,
}

impl PgStore {
    /// Opens the store in the schema `es`, with the default settings, and brings the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Setup`] says what is wrong with the server, the database or the schema, and how to mend it.
    ///
    /// # Cancel safety
    /// Safe: a migration happens as a whole or not at all.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        PgOptions::new(url).connect().await
    }

    /// The name of its schema.
    pub fn schema(&self) -> &str {
        self.shared.schema.as_str()
    }

    /// Appends within a transaction of the caller's: the events are stored if and when it commits.
    ///
    /// Every append waits for the one that came first, to the end of its transaction. So call it as late in the
    /// transaction as possible, or let [`begin`](Self::begin) do that. The transaction's `synchronous_commit` is
    /// left as it is: with `off`, readers may see events that a crash of the server takes away again. On a
    /// connection without a transaction it is an append of its own.
    ///
    /// Readers are not told of the commit, and find the events when they poll next;
    /// [`announce`](Self::announce) tells them at once.
    ///
    /// # Errors
    /// As [`EventStore::append`]; after [`StoreError::Conflict`], [`StoreError::IdReused`] and [`StoreError::Busy`] the
    /// transaction can go on. [`StoreError::Refused`] at the isolation levels REPEATABLE READ and SERIALIZABLE, where the
    /// transaction cannot see what was appended since it began.
    ///
    /// # Cancel safety
    /// Roll the transaction back if the future is dropped: the events may be in it or not.
    pub async fn append_in(&self, connection: &mut PgConnection, append: &Append) -> Result<Appended, StoreError> {
        append::check(&self.shared, append)?;
        append::append_in(&self.shared, connection, append, Commit::AsItIs).await
    }

    /// Starts a transaction of the caller's own writes and of appends, both or neither. The appends are sent at its
    /// commit, so that other writers wait as briefly as possible.
    ///
    /// # Errors
    /// [`StoreError::Busy`] or [`StoreError::Unavailable`] without a connection; [`StoreError::Refused`] within a handler of a
    /// projection.
    ///
    /// # Cancel safety
    /// Safe: nothing has happened yet.
    pub async fn begin(&self) -> Result<UnitOfWork, StoreError> {
        self.refuse_in_handler()?;
        Ok(UnitOfWork::new(self.clone(), self.shared.transaction().await?))
    }

    /// Tells readers, here and in other processes, that there are events up to a position. Only needed after the
    /// commit of a transaction with [`append_in`](Self::append_in).
    pub fn announce(&self, position: Position) {
        self.shared.signals.announce(position, true);
    }

    /// Closes all connections after the calls that use them and the appends that wait, and ends the background tasks.
    /// Later calls, on every handle, are [`StoreError::Refused`].
    ///
    /// # Cancel safety
    /// Safe: the store is closed even if the future is dropped; connections may then be open for a moment more.
    pub async fn close(&self) {
        // Closed from here on, even if nobody awaits it.
        let readers_closed = self.shared.pool.close();
        self.shared.tails.stop();
        self.shared.writers.close().await;
        self.shared.signals.stop();
        self.shared.append_pool.close().await;
        self.shared.tails.stopped().await;
        self.shared.tail_pool.close().await;
        readers_closed.await;
    }

    /// Refuses what would wait for itself.
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
    /// A connection for one statement.
    pub(crate) async fn session(&self) -> Result<Session, StoreError> {
        if self.settings.pgbouncer {
            // Parsing and binding are two messages, which must meet the same connection of the server.
            return Ok(Session::Transaction(self.transaction().await?));
        }
        self.writers.refuse_ended_runtime()?;
        let connection = self.pool.acquire().await.map_err(|error| self.acquire_error(&self.pool, error))?;
        Ok(Session::Single(connection))
    }

    /// A connection in a transaction.
    pub(crate) async fn transaction(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.begin(self.begin.clone()).await
    }

    /// A connection in a transaction that begins with this statement.
    pub(crate) async fn begin(&self, begin: SqlStr) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.writers.refuse_ended_runtime()?;
        let mut reconnects = limits::RECONNECTS_PER_CALL;
        loop {
            match self.try_begin(begin.clone()).await {
                // Nothing but BEGIN was sent.
                Ok(Err(error)) if reconnects > 0 && is_lost_connection(&error) => {
                    self.liveness.note_loss();
                    reconnects -= 1;
                }
                Ok(begun) => return begun.map_err(|error| self.acquire_error(&self.pool, error)),
                // The runtime ends.
                Err(error) => return Err(StoreError::Unavailable { source: error.into() }),
            }
        }
    }

    async fn try_begin(&self, begin: SqlStr) -> Result<Result<Transaction<'static, Postgres>, sqlx::Error>, JoinError> {
        let pool = self.pool.clone();
        // In a task of its own, which nobody can drop half way: if the future is dropped while BEGIN is on its way, sqlx
        // 0.9.0 puts the connection back into the pool within an open transaction (transact-rs/sqlx#4393), and the next
        // append on it would never be committed. What the task begins for nobody is rolled back.
        tokio::spawn(async move { pool.begin_with(begin).await }).await
    }

    /// Commits a transaction in which other code than this crate's has run.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if that code ignored the failure of a statement: the server would answer COMMIT by a
    /// rollback, and call it a success.
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

    /// A statement, prepared once for each connection where that is possible.
    pub(crate) fn query(&self, sql: &SqlStr) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(sql.clone()).persistent(!self.settings.pgbouncer)
    }

    pub(crate) fn acquire_error(&self, pool: &PgPool, error: sqlx::Error) -> StoreError {
        acquire_error(pool, self.settings.acquire_timeout, error)
    }
}

/// A connection for one statement, or for one transaction where a statement alone is not possible.
pub(crate) enum Session {
    Single(PoolConnection<Postgres>),
    Transaction(Transaction<'static, Postgres>),
}

impl Session {
    /// Makes what was done last.
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
