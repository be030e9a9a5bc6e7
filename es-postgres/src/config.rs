//! How a store is opened.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use es_core::{
    ConsumerStore, Projection, ProjectionError, ProjectionStore, Projector, StoreError, View, ViewFold, limits,
};
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    durability::Durability,
    error::connect_error,
    inline::Inline,
    migrate::Migrator,
    statements::{SchemaName, Statements},
    store::{PgStore, Settings, Shared},
    tails::{Tails, tail_pool},
    wakeups::{SignalOptions, Signals},
    writer::{Writers, append_pool},
};

/// Connections in the pool, unless told otherwise.
pub const DEFAULT_MAX_CONNECTIONS: u32 = 10;
/// How long a call waits for a connection, unless told otherwise.
pub const DEFAULT_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an append waits for the appends before it, unless told otherwise.
pub const DEFAULT_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How to open a [`PgStore`]; built step by step.
///
/// ```no_run
/// # async fn example() -> Result<(), es_core::StoreError> {
/// use es_postgres::PgOptions;
/// let store = PgOptions::new("postgres://shop@localhost/shop").schema("orders").max_connections(20).connect().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "options do nothing until they are connected"]
#[derive(Clone)]
pub struct PgOptions {
    source: Source,
    schema: String,
    max_connections: u32,
    acquire_timeout: Duration,
    lock_timeout: Duration,
    max_payload_bytes: usize,
    listen: bool,
    notify: bool,
    migrate: bool,
    pgbouncer: bool,
    pipelined: bool,
    inline: Vec<Result<Inline, es_core::InvalidName>>,
}

#[derive(Clone)]
enum Source {
    Url(String),
    Options(Box<PgConnectOptions>),
}

impl PgOptions {
    /// Options for the database of a URL: `postgres://user:password@host:port/database`. What the URL leaves out comes
    /// from the usual environment (`PGHOST`, `PGUSER`, `PGPASSWORD` …).
    pub fn new(url: impl Into<String>) -> Self {
        Self::from_source(Source::Url(url.into()))
    }

    /// The same with sqlx's own options: for what a URL cannot say, or to reach the database of a pool that is there
    /// (`pool.connect_options()`).
    ///
    /// The store always has connections of its own. A future of `PgPool::begin` that is dropped half way leaves a
    /// connection within an open transaction (sqlx 0.9.0); on a pool that the application shared with the store,
    /// the store's next append might end up in there.
    pub fn from_connect_options(options: PgConnectOptions) -> Self {
        Self::from_source(Source::Options(Box::new(options)))
    }

    fn from_source(source: Source) -> Self {
        Self {
            source,
            schema: "es".to_owned(),
            max_connections: DEFAULT_MAX_CONNECTIONS,
            acquire_timeout: DEFAULT_ACQUIRE_TIMEOUT,
            lock_timeout: DEFAULT_LOCK_TIMEOUT,
            max_payload_bytes: limits::MAX_PAYLOAD_BYTES,
            listen: true,
            notify: true,
            migrate: true,
            pgbouncer: false,
            pipelined: false,
            inline: Vec::new(),
        }
    }

    /// The schema that holds the store; `es` unless told otherwise. Several stores may live in one database. At most
    /// [`MAX_SCHEMA_NAME_BYTES`](crate::MAX_SCHEMA_NAME_BYTES) lower-case ASCII letters, digits and `_`.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Most connections for everything but appends at once, at least 1; [`DEFAULT_MAX_CONNECTIONS`] unless told
    /// otherwise. Appends use one more, or two if they are [pipelined](Self::pipelined); reads of the ends of streams
    /// one more; a store that [listens](Self::listen) one more.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// How long a call waits for a connection; [`DEFAULT_ACQUIRE_TIMEOUT`] unless told otherwise.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// How long an append waits for appends of other processes, and so for transactions that hold one; in milliseconds, at
    /// least 1. Before that it may wait as long for appends of its own process. Then it is [`StoreError::Busy`]. [`DEFAULT_LOCK_TIMEOUT`] unless told otherwise.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// The largest payload of one event, in bytes of JSON; [`limits::MAX_PAYLOAD_BYTES`] unless told otherwise.
    pub fn max_payload_bytes(mut self, bytes: usize) -> Self {
        self.max_payload_bytes = bytes;
        self
    }

    /// Whether to hear of other processes' appends by LISTEN, with a connection of its own from the first
    /// [`wakeups`](es_core::EventStore::wakeups) on; true unless told otherwise. Without it, readers find them when they poll.
    pub fn listen(mut self, listen: bool) -> Self {
        self.listen = listen;
        self
    }

    /// Whether to tell other processes of appends by NOTIFY, after their commits and one for many; true unless told
    /// otherwise.
    pub fn notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// Whether to bring the schema up to date (the default), or to refuse one that is not.
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Whether a PgBouncer in transaction mode, or another pooler that gives each transaction another connection, stands
    /// before the server; false unless told otherwise. It turns [`listen`](Self::listen) off.
    ///
    /// Statements are then not prepared and each call is a transaction in messages of its own: four round trips instead
    /// of one.
    pub fn pgbouncer(mut self, pgbouncer: bool) -> Self {
        self.pgbouncer = pgbouncer;
        self
    }

    /// Whether appends release the lock that orders them before their flush, and wait for the flush after that; false
    /// unless told otherwise.
    ///
    /// An append is durable when it returns, in both modes. It pays where a flush takes long (a cloud volume, a
    /// synchronous standby) and many processes append: they no longer wait for each other's flushes, and share them. On
    /// a fast disk it costs a second call for each batch. Readers may see an event before it is flushed, and a crash of the
    /// server may take such an event away again: [`wait_durable`](es_core::EventStore::wait_durable), which reactors call by
    /// themselves, is for whoever acts on events outside of the database. Processes in either mode can work on one schema.
    ///
    /// Each flush leaves a logical message with the prefix `es_flush` in the write-ahead log.
    pub fn pipelined(mut self, pipelined: bool) -> Self {
        self.pipelined = pipelined;
        self
    }

    /// Applies a projection in the transaction of each append, so that its read model is never behind.
    ///
    /// An append applies it only if its checkpoint stands right before that append. So appends by processes that do
    /// not know the projection leave it behind, and so does a failing handler (which is logged; the append is
    /// stored without it). A runner then has to catch up, after which appends apply it again.
    ///
    /// Its handler runs while all other appends wait: keep it short.
    pub fn inline_projection<P: Projection<Connection = PgConnection>>(mut self, projection: P) -> Self {
        self.inline.push(Projector::new(projection).map(|projector| Inline::Projection(Arc::new(projector))));
        self
    }

    /// The same as [`inline_projection`](Self::inline_projection) for a view.
    pub fn inline_view<V: View>(mut self) -> Self {
        self.inline.push(ViewFold::<V>::new().map(|fold| Inline::View(Arc::new(fold))));
        self
    }

    /// Opens the store. Its background tasks run on the current runtime.
    ///
    /// # Errors
    /// [`StoreError::Setup`] says what is wrong with the server, the database or the schema, and how to mend it;
    /// [`StoreError::InvalidName`] for the name of an inline projection.
    ///
    /// # Cancel safety
    /// Safe: a migration happens as a whole or not at all.
    pub async fn connect(mut self) -> Result<PgStore, StoreError> {
        let schema = SchemaName::new(&self.schema)?;
        let statements = Arc::new(Statements::new(&schema));
        let inline = std::mem::take(&mut self.inline).into_iter().collect::<Result<Vec<_>, _>>()?;
        let migrator = Migrator { schema: &schema, statements: &statements, migrate: self.migrate };
        let connect_options = self.connect_options()?;
        // By one connection first: a pool would try again for long before it says what is wrong.
        let mut connection = self.first_connection(&connect_options).await?;
        migrator.run(&mut connection).await?;
        // It has done its work; how it ends is of no interest.
        let _ = connection.close().await;
        let pool = self.pool(connect_options.clone());
        let append_pool = append_pool(connect_options.clone(), self.acquire_timeout);
        let (writers, queue) = Writers::new(self.lock_timeout);
        let tail_pool = tail_pool(connect_options.clone(), self.acquire_timeout);
        let (tails, reads) = Tails::new();
        let signals = Signals::start(SignalOptions {
            pool: pool.clone(),
            connect_options,
            statements: Arc::clone(&statements),
            channel: schema.channel(),
            notify: self.notify,
            listen: self.listen && !self.pgbouncer,
            pgbouncer: self.pgbouncer,
        });
        let settings = Settings {
            lock_timeout: self.lock_timeout,
            acquire_timeout: self.acquire_timeout,
            max_payload_bytes: self.max_payload_bytes,
            pgbouncer: self.pgbouncer,
            pipelined: self.pipelined,
        };
        let durability = Durability::default();
        let shared = Shared {
            pool,
            schema,
            statements,
            settings,
            inline,
            signals,
            append_pool,
            writers,
            tail_pool,
            tails,
            durability,
        };
        let store = PgStore { shared: Arc::new(shared) };
        store.shared.note_mode().await?;
        Writers::start(&store.shared, queue);
        Tails::start(&store.shared, reads);
        prepare_inline(&store).await?;
        Ok(store)
    }

    fn connect_options(&self) -> Result<PgConnectOptions, StoreError> {
        let options = match &self.source {
            Source::Options(options) => options.as_ref().clone(),
            Source::Url(url) => PgConnectOptions::from_str(url).map_err(|error| StoreError::Setup {
                problem: "the URL of the database cannot be read".to_owned(),
                remedy: "write postgres://user:password@host:port/database, with special characters percent-encoded"
                    .to_owned(),
                source: Some(error.into()),
            })?,
        };
        let options = match options.get_application_name() {
            Some(_) => options,
            // Shown to whoever waits for a lock that it holds.
            None => options.application_name("es-postgres"),
        };
        Ok(match self.pgbouncer {
            // PgBouncer takes few parameters at the start of a connection.
            true => options.statement_cache_capacity(0).extra_float_digits(None),
            false => options.options([
                // The append function works at this level alone, whatever the database's default is.
                ("default_transaction_isolation", "read committed"),
                // A client whose machine is gone is noticed within half a minute, and what it holds is free.
                ("tcp_keepalives_idle", "15"),
                ("tcp_keepalives_interval", "5"),
                ("tcp_keepalives_count", "3"),
            ]),
        })
    }

    async fn first_connection(&self, options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
        let server = server(options);
        match tokio::time::timeout(self.acquire_timeout, PgConnection::connect_with(options)).await {
            Ok(connection) => connection.map_err(|error| connect_error(error, &server)),
            Err(elapsed) => Err(StoreError::Setup {
                problem: format!("the server {server} did not answer within {} ms", self.acquire_timeout.as_millis()),
                remedy: "start it, or correct host and port in the URL".to_owned(),
                source: Some(elapsed.into()),
            }),
        }
    }

    fn pool(&self, options: PgConnectOptions) -> PgPool {
        PgPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(self.acquire_timeout)
            // A round trip for each call, where the call itself says as well that a connection is gone.
            .test_before_acquire(false)
            .connect_lazy_with(options)
    }
}

impl fmt::Debug for PgOptions {
    /// Leaves out the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOptions")
            .field("schema", &self.schema)
            .field("max_connections", &self.max_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("max_payload_bytes", &self.max_payload_bytes)
            .field("listen", &self.listen)
            .field("notify", &self.notify)
            .field("migrate", &self.migrate)
            .field("pgbouncer", &self.pgbouncer)
            .field("pipelined", &self.pipelined)
            .finish_non_exhaustive()
    }
}

/// Where the server is, for messages.
fn server(options: &PgConnectOptions) -> String {
    format!("{}:{}", options.get_host(), options.get_port())
}

/// Makes room for what inline projections write.
async fn prepare_inline(store: &PgStore) -> Result<(), StoreError> {
    for inline in &store.shared.inline {
        match inline {
            Inline::View(view) => store.prepare_view(view.name()).await?,
            Inline::Projection(projection) => {
                store.prepare_projection(projection.as_ref()).await.map_err(|error| match error {
                    ProjectionError::Store(error) => error,
                    error => StoreError::Setup {
                        problem: format!("the inline projection {} cannot be prepared", projection.name()),
                        remedy: "mend its prepare, or the role's privileges".to_owned(),
                        source: Some(error.into()),
                    },
                })?;
            }
        }
    }
    Ok(())
}
