//! How a store is opened.

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

/// Connections in the pool, unless told otherwise.
pub const DEFAULT_MAX_CONNECTIONS: u32 = 10;
/// How long a call waits for a connection, unless told otherwise.
pub const DEFAULT_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long a connection that nobody uses is kept, unless told otherwise: less than firewalls and load balancers do.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(180);
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
    /// Options for the database of a URL: `postgres://user:password@host:port/database`. What the URL leaves out comes
    /// from the usual environment (`PGHOST`, `PGUSER`, `PGPASSWORD`, `PGSSLMODE` …).
    ///
    /// The URL may hold `sslmode` (`disable`, `prefer`, `require`, `verify-ca`, `verify-full`), `sslrootcert`, `sslcert` and
    /// `sslkey`, each as libpq has it, and `application_name`. Over a network use `verify-full`: only that mode knows that it
    /// speaks to the right server. With `prefer`, the default, a server without TLS is spoken to in plain text, with a warning
    /// of `tracing` if it is not on this machine.
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

    /// Which protection connections need, instead of what the URL says.
    pub fn ssl_mode(mut self, mode: PgSslMode) -> Self {
        self.tls.mode = Some(mode);
        self
    }

    /// The certificate of the authority that signs the server's, as the path of a file in PEM or as its text. It is trusted beside
    /// the system's and the public ones. `require` checks the certificate as `verify-ca` does from here on.
    pub fn ssl_root_cert(mut self, path_or_pem: impl Into<String>) -> Self {
        self.tls.root = Some(Pem::new(path_or_pem.into()));
        self
    }

    /// The certificate by which this program proves who it is, and its key; each as the path of a file in PEM or as its text.
    pub fn ssl_client_cert(mut self, certificate: impl Into<String>, key: impl Into<String>) -> Self {
        self.tls.client_certificate = Some(Pem::new(certificate.into()));
        self.tls.client_key = Some(Pem::new(key.into()));
        self
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

    /// For how long the pool keeps a connection that nobody uses; [`DEFAULT_IDLE_TIMEOUT`] unless told otherwise. The server's
    /// `idle_session_timeout` does not require a change: the store tests an idle connection before it uses it.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
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
        let (connect_options, begin) =
            self.prepare_session(&mut connection, connect_options, &schema, &statements).await?;
        // It has done its work; how it ends is of no interest.
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

    /// Looks at the first connection: the options of all others, and how their transactions begin. Unqualified names mean
    /// the store's schema first, so that the tables of projections are in it; unless the caller has chosen a search path.
    async fn prepare_session(
        &self,
        connection: &mut PgConnection,
        options: PgConnectOptions,
        schema: &SchemaName,
        statements: &Statements,
    ) -> Result<(PgConnectOptions, SqlStr), StoreError> {
        // In a transaction, which a pooler understands.
        let mut transaction = connection.begin().await.map_err(store_error)?;
        let query = sqlx::query(statements.session.clone()).persistent(false);
        let row = query.fetch_one(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        let (search_path, is_encrypted) = (get_text(&row, 0)?, get::<bool>(&row, 1)?);
        // Of a pooler, only the pooler's own connection is known.
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
    /// Leaves out the URL, which may hold a password.
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
