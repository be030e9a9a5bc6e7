//! The options for opening a store.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use es_core::{DocumentFold, InvalidName, Projection, Projector, StoreError, View, ViewFold, limits};
use sqlx::{
    ConnectOptions, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

use crate::{inline::Inline, store::SqliteStore};

/// Default number of readers.
pub const DEFAULT_READERS: usize = 4;
/// Maximum number of readers that the options accept.
pub const MAX_READERS: usize = 64;
/// Default time that a call waits for one holder of the writer, or for a free reader.
pub const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time to wait for one holder of the writer, or for a free reader, that the options accept.
pub const MAX_BUSY_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Memory for the pages of the database in each connection, in KiB.
const CACHE_KIB: u32 = 16 * 1_024;
/// Size to which the write-ahead log is truncated after a large transaction, in bytes.
const WAL_BYTES_KEPT: u32 = 64 * 1_024 * 1_024;

/// When a commit is flushed to disk, and therefore which failures it survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Every commit is flushed before it returns. Acknowledged data survives a crash of the process, a crash of the
    /// operating system, and a loss of power. This is the default.
    #[default]
    Full,
    /// Commits are flushed later, many at a time. Acknowledged data survives a crash of the process, but the last
    /// commits can be lost if the operating system crashes or the power fails.
    ///
    /// The database itself stays consistent: the lost part is a tail of the events and checkpoints in this file.
    /// Effects of consumers outside of this file are not undone. Do not use this mode for events that another system
    /// has acted on.
    Normal,
}

/// The options for opening a store. Set them by chaining calls, and finish with [`open`](Self::open).
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("es-sqlite-doc-{}-options", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("bank.db");
/// use std::time::Duration;
/// use es_sqlite::{SqliteOptions, Synchronous};
///
/// let store = SqliteOptions::new(&path)
///     .synchronous(Synchronous::Full)
///     .readers(2)
///     .busy_timeout(Duration::from_secs(10))
///     .open()
///     .await?;
/// # store.close().await?;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(()) }
/// ```
#[must_use = "options do nothing until the store is opened"]
pub struct SqliteOptions {
    pub(crate) path: PathBuf,
    pub(crate) create_if_missing: bool,
    pub(crate) synchronous: Synchronous,
    pub(crate) readers: usize,
    pub(crate) busy_timeout: Duration,
    pub(crate) max_payload_bytes: usize,
    pub(crate) inline: Vec<Inline>,
    /// The first invalid name, which `open` reports.
    problem: Option<InvalidName>,
}

impl SqliteOptions {
    /// Creates the default options for a file: created if missing, [`Synchronous::Full`], [`DEFAULT_READERS`],
    /// [`DEFAULT_BUSY_TIMEOUT`], and [`limits::MAX_PAYLOAD_BYTES`].
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            create_if_missing: true,
            synchronous: Synchronous::default(),
            readers: DEFAULT_READERS,
            busy_timeout: DEFAULT_BUSY_TIMEOUT,
            max_payload_bytes: limits::MAX_PAYLOAD_BYTES,
            inline: Vec::new(),
            problem: None,
        }
    }

    /// Sets whether a file that does not exist is created. Its folder is never created.
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.create_if_missing = create;
        self
    }

    /// Sets when a commit is flushed to disk.
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Sets how many reads can run at the same time: 1 to [`MAX_READERS`]. Each reader has a connection, which is
    /// opened at first use. Reads never wait for the writer.
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = readers;
        self
    }

    /// Sets how long a call waits before it returns [`StoreError::Busy`], at most [`MAX_BUSY_TIMEOUT`]. The limit
    /// applies to the wait for a free reader, and to the wait for one holder of the only writer, in this or another
    /// process. While other calls in this process take turns with the writer, a call waits longer, up to
    /// [`MAX_WRITER_WAIT`](crate::MAX_WRITER_WAIT).
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets the maximum payload of one event, in bytes of JSON.
    pub fn max_payload_bytes(mut self, bytes: usize) -> Self {
        self.max_payload_bytes = bytes;
        self
    }

    /// Applies a projection in the transaction of each append, if its checkpoint is directly before the append. Its
    /// tables are then up to date when `append` returns.
    ///
    /// If the checkpoint is further back, the runner of the projection applies the events instead. This is the case
    /// after the first start, after another process that does not know the projection has appended, and after an error
    /// of its handler. Such an error is logged and does not fail the append. Run the projection with `es-projections`,
    /// or it stays behind.
    pub fn inline_projection<P: Projection<Connection = SqliteConnection>>(mut self, projection: P) -> Self {
        match Projector::new(projection) {
            Ok(projector) => self.inline.push(Inline::Projection(Arc::new(projector))),
            Err(problem) => _ = self.problem.get_or_insert(problem),
        }
        self
    }

    /// Updates a view in the transaction of each append. See [`inline_projection`](Self::inline_projection).
    pub fn inline_view<V: View>(mut self) -> Self {
        match ViewFold::<V>::new() {
            Ok(fold) => self.inline.push(Inline::View(Arc::new(fold) as Arc<dyn DocumentFold>)),
            Err(problem) => _ = self.problem.get_or_insert(problem),
        }
        self
    }

    /// Opens the store, and creates or migrates what is needed. Several processes may open it at the same time.
    ///
    /// # Errors
    /// - [`StoreError::Setup`] with a remedy: the folder is missing, or the file is not a database, cannot be written,
    ///   was written by a newer version of this library, or is damaged.
    /// - [`StoreError::Busy`] if another process locks the file for longer than the busy timeout.
    /// - [`StoreError::LimitExceeded`], [`StoreError::InvalidName`], or [`StoreError::Refused`] for unusable options.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing is opened. A migration is applied completely or not at all.
    pub async fn open(self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open_with(self).await
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone().into());
        }
        if self.readers == 0 {
            return Err(StoreError::Refused { reason: "a store with 0 readers cannot be read; give it at least 1" });
        }
        let over = |what, limit: u64, actual: u64| Err(StoreError::LimitExceeded { what, limit, actual });
        if self.readers > MAX_READERS {
            return over("readers of a store", MAX_READERS as u64, self.readers as u64);
        }
        if self.busy_timeout > MAX_BUSY_TIMEOUT {
            return over("seconds of busy timeout", MAX_BUSY_TIMEOUT.as_secs(), self.busy_timeout.as_secs());
        }
        if self.max_payload_bytes > limits::MAX_APPEND_BYTES {
            let actual = self.max_payload_bytes as u64;
            return over("bytes of an event's payload as a setting", limits::MAX_APPEND_BYTES as u64, actual);
        }
        let mut names: Vec<_> = self.inline.iter().map(Inline::name).collect();
        names.sort();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(StoreError::Refused {
                reason: "two inline projections or views have the same name; give each its own",
            });
        }
        Ok(())
    }

    /// Returns the options of a connection that may write.
    pub(crate) fn writing(&self, path: &Path) -> SqliteConnectOptions {
        let synchronous = match self.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        };
        self.connecting(path)
            .create_if_missing(self.create_if_missing)
            .synchronous(synchronous)
            // On macOS, a plain flush leaves data in the drive's own cache. On other systems this changes nothing.
            .pragma("fullfsync", if self.synchronous == Synchronous::Full { "1" } else { "0" })
            .pragma("journal_size_limit", WAL_BYTES_KEPT.to_string())
    }

    /// Returns the options of a connection that only reads.
    pub(crate) fn reading(&self, path: &Path) -> SqliteConnectOptions {
        self.connecting(path).pragma("query_only", "1")
    }

    fn connecting(&self, path: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(self.busy_timeout)
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .pragma("temp_store", "MEMORY")
            .thread_name(|number| format!("es-sqlite-{number}"))
            .disable_statement_logging()
    }
}

impl std::fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteOptions")
            .field("path", &self.path)
            .field("create_if_missing", &self.create_if_missing)
            .field("synchronous", &self.synchronous)
            .field("readers", &self.readers)
            .field("busy_timeout", &self.busy_timeout)
            .field("max_payload_bytes", &self.max_payload_bytes)
            .field("inline", &self.inline.iter().map(Inline::name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
