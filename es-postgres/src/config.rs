//! The options for opening a store.

use std::{fmt, sync::Arc, time::Duration};

use es_core::{
    CommandQueue, ConsumerStore, Projection, ProjectionError, ProjectionStore, Projector, StoreError, View, ViewFold,
    limits,
};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, SqlSafeStr, SqlStr,
    postgres::{PgConnectOptions, PgSslMode},
};

use crate::{
    connections::{Liveness, pool},
    durability::Durability,
    error::{connect_error, store_error},
    inline::Inline,
    migrate::Migrator,
    rows::{get, get_text},
    source::{Source, is_remote},
    statements::{SchemaName, Statements},
    store::{BEGIN, PgStore, Settings, Shared},
    tails::Tails,
    tls::{Pem, Tls},
    wakeups::{SignalOptions, Signals},
    writer::{MAX_WRITERS, Writers},
};

/// The default maximum number of connections in the pool.
pub const DEFAULT_MAX_CONNECTIONS: u32 = 10;
/// The default time that a call waits for a connection.
pub const DEFAULT_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// The default time for which an unused connection is kept. It is shorter than the idle timeouts of firewalls and load
/// balancers.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// The default time that an append waits for earlier appends.
pub const DEFAULT_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The options for opening a [`PgStore`].
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
    tls: Tls,
    schema: String,
    max_connections: u32,
    acquire_timeout: Duration,
    idle_timeout: Duration,
    lock_timeout: Duration,
    max_payload_bytes: usize,
    listen: bool,
    notify: bool,
    migrate: bool,
    pgbouncer: bool,
    pipelined: bool,
    inline: Vec<Result<Inline, es_core::InvalidName>>,
}

impl PgOptions {
    /// Returns options for the database of a URL: `postgres://user:password@host:port/database`. Missing parts come
    /// from the usual environment variables (`PGHOST`, `PGUSER`, `PGPASSWORD`, `PGSSLMODE` …).
    ///
    /// The URL can contain `sslmode` (`disable`, `prefer`, `require`, `verify-ca`, `verify-full`), `sslrootcert`,
    /// `sslcert`, and `sslkey`, with the meaning that libpq gives them, and `application_name`. Use `verify-full` over
    /// a network: only this mode verifies that the connection reaches the right server. With `prefer`, the default, the
    /// connection to a server without TLS is in plain text; unless the server is on this machine, a `tracing` warning
    /// reports that.
    pub fn new(url: impl Into<String>) -> Self {
        Self::from_source(Source::Url(url.into()))
    }

    /// Returns options from the options of sqlx, for settings that a URL cannot express, or to reach the database of an
    /// existing pool (`pool.connect_options()`).
    ///
    /// The store always has its own connections. If a future of `PgPool::begin` is dropped before it completes, it
    /// leaves a connection in an open transaction (sqlx 0.9.0). On a pool that the application shared with the store,
    /// the store's next append might become part of that transaction.
    pub fn from_connect_options(options: PgConnectOptions) -> Self {
        Self::from_source(Source::Options(Box::new(options)))
    }

    fn from_source(source: Source) -> Self {
        Self {
            source,
            tls: Tls::default(),
            schema: "es".to_owned(),
            max_connections: DEFAULT_MAX_CONNECTIONS,
            acquire_timeout: DEFAULT_ACQUIRE_TIMEOUT,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
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

    /// Sets the protection that connections need, overriding the URL.
    pub fn ssl_mode(mut self, mode: PgSslMode) -> Self {
        self.tls.mode = Some(mode);
        self
    }

    /// Sets the certificate of the authority that signs the server's certificate, as the path of a PEM file or as its
    /// text. The store trusts it in addition to the system's and the public authorities. With this option, `require`
    /// checks the certificate like `verify-ca`.
    pub fn ssl_root_cert(mut self, path_or_pem: impl Into<String>) -> Self {
        self.tls.root = Some(Pem::new(path_or_pem.into()));
        self
    }

    /// Sets the certificate with which this program authenticates, and its key, each as the path of a PEM file or as
    /// its text.
    pub fn ssl_client_cert(mut self, certificate: impl Into<String>, key: impl Into<String>) -> Self {
        self.tls.client_certificate = Some(Pem::new(certificate.into()));
        self.tls.client_key = Some(Pem::new(key.into()));
        self
    }

    /// Sets the schema that contains the store. The default is `es`. One database can contain several stores. The name
    /// has at most [`MAX_SCHEMA_NAME_BYTES`](crate::MAX_SCHEMA_NAME_BYTES) lowercase ASCII letters, digits, and `_`.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Sets the maximum number of connections for everything except appends, at least 1. The default is
    /// [`DEFAULT_MAX_CONNECTIONS`]. Appends use one more connection, or two if they are [pipelined](Self::pipelined).
    /// Reads of the ends of streams use one more, and a store that [listens](Self::listen) one more.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections.max(1);
        self
    }

    /// Sets how long a call waits for a connection. The default is [`DEFAULT_ACQUIRE_TIMEOUT`].
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Sets how long the pool keeps an unused connection. The default is [`DEFAULT_IDLE_TIMEOUT`]. The server's
    /// `idle_session_timeout` does not require a change: the store tests an idle connection before it uses it.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets how long an append waits for appends of other processes, and therefore for transactions that contain one;
    /// in milliseconds, at least 1. Before that, it may wait equally long for appends of its own process. After that,
    /// it returns [`StoreError::Busy`]. The default is [`DEFAULT_LOCK_TIMEOUT`].
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Sets the maximum size of an event's payload, in bytes of JSON. The default is [`limits::MAX_PAYLOAD_BYTES`].
    pub fn max_payload_bytes(mut self, bytes: usize) -> Self {
        self.max_payload_bytes = bytes;
        self
    }

    /// Sets whether the store learns of appends by other processes through LISTEN. The default is true. It uses an
    /// additional connection from the first call of [`wakeups`](es_core::EventStore::wakeups) on. Without LISTEN,
    /// readers find new events when they poll.
    pub fn listen(mut self, listen: bool) -> Self {
        self.listen = listen;
        self
    }

    /// Sets whether the store notifies other processes of appends through NOTIFY. The default is true. Notifications
    /// are sent after commits, one for many of them.
    pub fn notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// Sets whether the store migrates the schema (the default), or refuses a schema that is not up to date.
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Sets whether connections go through PgBouncer in transaction mode, or another pooler that assigns a connection
    /// per transaction. The default is false. This option turns [`listen`](Self::listen) off.
    ///
    /// Statements are then not prepared, and each call is a transaction with separate messages: four round trips
    /// instead of one.
    pub fn pgbouncer(mut self, pgbouncer: bool) -> Self {
        self.pgbouncer = pgbouncer;
        self
    }

    /// Sets whether appends release the ordering lock before their flush, and wait for the flush afterward. The default
    /// is false.
    ///
    /// In both modes, an append is durable when it returns. The pipelined mode pays off if a flush takes long (a cloud
    /// volume, a synchronous standby) and many processes append: the processes no longer wait for each other's flushes,
    /// and share them. On a fast disk, the mode costs a second call for each batch. Readers may see an event before it
    /// is flushed, and a crash of the server may remove such an event. Code that acts on events outside the database
    /// must therefore call [`wait_durable`](es_core::EventStore::wait_durable) first; reactors do so automatically.
    /// Processes in either mode can work on the same schema.
    ///
    /// Each flush leaves a logical message with the prefix `es_flush` in the write-ahead log.
    pub fn pipelined(mut self, pipelined: bool) -> Self {
        self.pipelined = pipelined;
        self
    }

    /// Applies a projection in the transaction of each append, so that its read model is never behind.
    ///
    /// An append applies the projection only if its checkpoint is directly before that append. Appends by processes
    /// without this option therefore leave the projection behind. So does a failing handler: the failure is logged, and
    /// the append is stored without the projection. A runner then has to catch up, after which appends apply the
    /// projection again.
    ///
    /// All other appends wait while the handler runs, so keep it short.
    pub fn inline_projection<P: Projection<Connection = PgConnection>>(mut self, projection: P) -> Self {
        self.inline.push(Projector::new(projection).map(|projector| Inline::Projection(Arc::new(projector))));
        self
    }

    /// Applies a view in the transaction of each append, like [`inline_projection`](Self::inline_projection).
    pub fn inline_view<V: View>(mut self) -> Self {
        self.inline.push(ViewFold::<V>::new().map(|fold| Inline::View(Arc::new(fold))));
        self
    }

    /// Opens the store. Its background tasks run on the current runtime.
    ///
    /// # Errors
    /// Returns [`StoreError::Setup`] if something is wrong with the server, the database, or the schema; the error
    /// states how to fix it. Returns [`StoreError::InvalidName`] if the name of an inline projection is invalid.
    ///
    /// # Cancel safety
    /// Safe: a migration happens completely or not at all.
    pub async fn connect(mut self) -> Result<PgStore, StoreError> {
        let schema = SchemaName::new(&self.schema)?;
        let statements = Arc::new(Statements::new(&schema));
        let inline = std::mem::take(&mut self.inline).into_iter().collect::<Result<Vec<_>, _>>()?;
        let migrator = Migrator { schema: &schema, statements: &statements, migrate: self.migrate };
        let connect_options = self.connect_options()?;
        // The first connection is a single one, because a pool would retry for a long time before it reports what is
        // wrong.
        let mut connection = self.first_connection(&connect_options).await?;
        migrator.run(&mut connection).await?;
        let (connect_options, begin) =
            self.prepare_session(&mut connection, connect_options, &schema, &statements).await?;
        // The connection is no longer needed, and how it closes does not matter.
        let _ = connection.close().await;
        let liveness = Arc::new(Liveness::default());
        let open = |max_connections, idle_timeout| {
            pool(connect_options.clone(), max_connections, self.acquire_timeout, idle_timeout, &liveness)
        };
        let (pool, append_pool, tail_pool) =
            (open(self.max_connections, Some(self.idle_timeout)), open(MAX_WRITERS, None), open(1, None));
        let (writers, queue) = Writers::new(self.lock_timeout);
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
            command_queue: CommandQueue::with_sleep(|time| Box::pin(tokio::time::sleep(time))),
            liveness,
            begin,
        };
        let store = PgStore { shared: Arc::new(shared) };
        store.shared.note_mode().await?;
        Writers::start(&store.shared, queue);
        Tails::start(&store.shared, reads);
        prepare_inline(&store).await?;
        Ok(store)
    }

    fn connect_options(&self) -> Result<PgConnectOptions, StoreError> {
        let options = self.source.connect_options(&self.tls)?;
        let options = match options.get_application_name() {
            Some(_) => options,
            // Shown to sessions that wait for a lock that this store holds.
            None => options.application_name("es-postgres"),
        };
        Ok(match self.pgbouncer {
            // PgBouncer accepts few parameters at the start of a connection.
            true => options.statement_cache_capacity(0).extra_float_digits(None),
            false => options.options([
                // The append function works only at this level, whatever the default of the database is.
                ("default_transaction_isolation", "read committed"),
                // If a client's machine is gone, the server notices within half a minute and releases what the client
                // holds.
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

    /// Uses the first connection to determine the options of all others, and how their transactions begin. Unqualified
    /// names refer to the store's schema first, so that it contains the tables of projections, unless the caller has
    /// chosen a search path.
    async fn prepare_session(
        &self,
        connection: &mut PgConnection,
        options: PgConnectOptions,
        schema: &SchemaName,
        statements: &Statements,
    ) -> Result<(PgConnectOptions, SqlStr), StoreError> {
        // In a transaction, so that it works through a pooler.
        let mut transaction = connection.begin().await.map_err(store_error)?;
        let query = sqlx::query(statements.session.clone()).persistent(false);
        let row = query.fetch_one(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        let (search_path, is_encrypted) = (get_text(&row, 0)?, get::<bool>(&row, 1)?);
        // Through a pooler, only the pooler's own connection to the server is visible.
        let may_warn = !self.pgbouncer && !matches!(options.get_ssl_mode(), PgSslMode::Disable);
        if may_warn && !is_encrypted && is_remote(&options) {
            tracing::warn!(
                server = server(&options),
                "the connection is in plain text: turn TLS on at the server, and connect with sslmode=verify-full"
            );
        }
        if options.get_options().is_some_and(|options| options.contains("search_path")) {
            return Ok((options, SqlStr::from_static(BEGIN)));
        }
        let separator = if search_path.is_empty() { "" } else { ", " };
        let search_path = format!("{}{separator}{search_path}", schema.quoted());
        if self.pgbouncer {
            // Set anew in each transaction, in the same message.
            let text = search_path.replace('\'', "''");
            let begin = format!("{BEGIN}; SELECT pg_catalog.set_config('search_path', '{text}', true)");
            return Ok((options, AssertSqlSafe(begin).into_sql_str()));
        }
        Ok((options.options([("search_path", search_path)]), SqlStr::from_static(BEGIN)))
    }
}

impl fmt::Debug for PgOptions {
    /// Does not show the URL, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOptions")
            .field("schema", &self.schema)
            .field("max_connections", &self.max_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("idle_timeout", &self.idle_timeout)
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
