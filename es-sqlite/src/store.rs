//! The store: its handle, opening and closing, and the event store's contract.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use es_core::{
    Append, Appended, Bookmark, CommandQueue, ConsumerName, ConsumerStore, EventFilter, EventPage, EventStore,
    IdempotencyKey, PageSize, Position, ProjectionError, ProjectionStore, RecentEvents, StoreError, StreamId,
    StreamPage, Version, WakeupSender, Wakeups,
};
use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;
use tokio::runtime::Handle;

use crate::{
    append::{Prepared, find_append},
    config::SqliteOptions,
    handler_scope::refuse_in_handler,
    inline::Inline,
    migrate,
    opened_file::OpenedFile,
    queue::AppendQueue,
    read_all, read_stream,
    readers::Readers,
    unit_of_work::{self, UnitOfWork},
    wakeups::Watch,
    writer::{Writer, WriterGuard},
};

/// The embedded event store: one SQLite file, without a server. Cloning returns another handle to the same connections.
///
/// - Several processes may open the same file, and so may several stores in one process. All of them see each other's
///   events. The file must be on a local disk, because SQLite's write-ahead log does not work over a network.
/// - There is one writer at a time. Appends, pages, and checkpoints that wait for it in one process share a
///   transaction, and therefore a flush. Each of them can fail alone. Reads never wait for the writer.
/// - With [`Synchronous::Full`](crate::Synchronous::Full), the default, all acknowledged data survives a loss of power.
/// - The store's tables have the prefix `es_`. An application may keep its own tables in the same file and change them
///   in the same transaction: see [`begin`](Self::begin) and [`append_in`](Self::append_in).
///
/// Use it within a tokio runtime with time enabled.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("es-sqlite-doc-{}-store", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("bank.db");
/// use es_core::{Append, EventStore, EventType, ExpectedVersion, NewEvent, PageSize, Payload, StreamId, Version};
/// use es_sqlite::SqliteStore;
///
/// let store = SqliteStore::open(&path).await?;
/// let ann = StreamId::new("account", "ann")?;
/// let opened = NewEvent::new(EventType::new("Opened")?, Payload::from_json(r#"{"owner":"Ann"}"#)?);
/// let done = store.append(&Append::to(ann.clone(), ExpectedVersion::NoStream, vec![opened]).build()?).await?;
///
/// let page = store.read_stream(&ann, Version::ZERO, PageSize::default()).await?;
/// assert_eq!(page.events[0].position(), done.first_position);
/// store.close().await?;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    pub(crate) shared: Arc<Shared>,
}

/// The data that all handles of a store share.
pub(crate) struct Shared {
    /// The absolute path of the file, without links. It identifies the store.
    pub(crate) file: Arc<Path>,
    pub(crate) opened: Arc<OpenedFile>,
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
    pub(crate) inline: Vec<Inline>,
    pub(crate) wakeups: WakeupSender,
    /// The latest stored events, kept while a reader waits for hints.
    pub(crate) recent: RecentEvents,
    pub(crate) watch: Watch,
    pub(crate) queue: AppendQueue,
    pub(crate) command_queue: CommandQueue,
    pub(crate) max_payload_bytes: usize,
    /// Views that are known to have their table.
    views: Mutex<HashSet<ConsumerName>>,
}

impl Shared {
    pub(crate) fn knows_view(&self, view: &ConsumerName) -> bool {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).contains(view)
    }

    pub(crate) fn forget_view(&self, view: &ConsumerName) {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).remove(view);
    }

    pub(crate) fn know_view(&self, view: &ConsumerName) {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).insert(view.clone());
    }
}

impl SqliteStore {
    /// Opens the store in a file, which is created if it is missing, with the defaults of [`SqliteOptions`].
    ///
    /// # Errors
    /// Returns the errors of [`SqliteOptions::open`].
    ///
    /// # Cancel safety
    /// The same as for [`SqliteOptions::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        SqliteOptions::new(path).open().await
    }

    pub(crate) async fn open_with(options: SqliteOptions) -> Result<Self, StoreError> {
        options.check()?;
        let (opened, connection) = migrate::open_database(&options).await?;
        let (file, opened) = (Arc::clone(opened.path()), Arc::new(opened));
        let writer = Writer::new(connection, options.writing(&file), Arc::clone(&opened), options.busy_timeout);
        let shared = Shared {
            writer,
            readers: Readers::new(options.reading(&file), Arc::clone(&opened), options.readers, options.busy_timeout),
            file,
            opened,
            inline: options.inline,
            wakeups: WakeupSender::new(),
            recent: RecentEvents::new(),
            watch: Watch::default(),
            command_queue: CommandQueue::with_sleep(|time| Box::pin(tokio::time::sleep(time))),
            queue: AppendQueue::default(),
            max_payload_bytes: options.max_payload_bytes,
            views: Mutex::default(),
        };
        let store = Self { shared: Arc::new(shared) };
        store.prepare_inline().await?;
        Ok(store)
    }

    async fn prepare_inline(&self) -> Result<(), StoreError> {
        for inline in &self.shared.inline {
            match inline {
                Inline::View(view) => self.prepare_view(view.name()).await?,
                Inline::Projection(projection) => {
                    self.prepare_projection(&**projection).await.map_err(|error| match error {
                        ProjectionError::Store(error) => error,
                        other => StoreError::Setup {
                            problem: format!("the inline projection {} could not be prepared", projection.name()),
                            remedy: "mend its `prepare`; the source has the reason".to_owned(),
                            source: Some(Box::new(other)),
                        },
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Returns the absolute path of the file, without links.
    pub fn path(&self) -> &Path {
        &self.shared.file
    }

    /// Closes all connections, for all handles of this store. It waits for writes in progress, and refuses later calls.
    /// The last process that closes the file removes its write-ahead log.
    ///
    /// Dropping the last handle also closes the connections, without waiting.
    ///
    /// # Errors
    /// Returns a [`StoreError`] if a connection was closed with an error. No acknowledged data is lost.
    ///
    /// # Cancel safety
    /// This method is cancel safe. Call it again to wait for the end.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.shared.watch.close();
        self.shared.writer.close().await?;
        self.shared.recent.clear();
        self.shared.readers.close().await?;
        self.shared.opened.close().await
    }

    /// Appends in a transaction of the caller, on a connection to the same file. The events are stored if and when the
    /// caller commits. Inline projections are applied in the transaction too.
    ///
    /// Begin the transaction with `BEGIN IMMEDIATE` (`connection.begin_with("BEGIN IMMEDIATE")`). From then on, it
    /// holds the file's only write lock, so keep it short. Readers in this process detect these events a little later
    /// than others, because the store does not see the caller's commit. [`begin`](Self::begin) is easier to use.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] outside a transaction, or in a transaction that has read before another one
    /// wrote: such a transaction can no longer write. Other errors are those of [`EventStore::append`]. After an
    /// error, the transaction is unchanged, and the caller may continue with it, except after
    /// [`StoreError::Unavailable`] and [`StoreError::Backend`].
    ///
    /// # Cancel safety
    /// If the future is dropped, roll back the transaction.
    pub async fn append_in(&self, connection: &mut SqliteConnection, append: &Append) -> Result<Appended, StoreError> {
        refuse_in_handler(&self.shared.file)?;
        unit_of_work::append_in(&self.shared, connection, append).await
    }

    /// Begins a unit of work: the caller's own writes and appends, in one transaction.
    ///
    /// It holds the store's only writer until it is committed or dropped, so keep it short. All other writes wait for
    /// it, for as long as the busy timeout. An append to the store itself would also wait for the unit of work, so add
    /// it to the unit instead.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] if the writer is in use for longer than the busy timeout, and
    /// [`StoreError::Refused`] inside a handler of a projection.
    ///
    /// # Cancel safety
    /// This method is cancel safe.
    pub async fn begin(&self) -> Result<UnitOfWork, StoreError> {
        refuse_in_handler(&self.shared.file)?;
        let transaction = self.shared.writer.lock("a unit of work").await?.begin().await?;
        Ok(UnitOfWork::new(Arc::clone(&self.shared), transaction))
    }

    /// Writes in a separate task, so that a dropped caller does not stop it halfway. `write` begins and commits with
    /// its own statements. After an error, the transaction is rolled back.
    pub(crate) async fn write_in_task<T: Send + 'static>(
        &self,
        write: impl for<'a> FnOnce(&'a mut WriterGuard) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        refuse_in_handler(&self.shared.file)?;
        let shared = Arc::clone(&self.shared);
        let task = runtime()?.spawn(async move {
            let mut writer = shared.writer.lock("a write of the store's own records").await?;
            let result = write(&mut writer).await;
            match &result {
                Ok(_) => writer.committed(),
                Err(_) => writer.rollback().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the connection is closed, since its transaction was not rolled back");
                }),
            }
            writer.settle(result)
        });
        task.await.unwrap_or_else(|error| Err(StoreError::Unavailable { source: Box::new(error) }))
    }

    /// Writes in a separate task, for frequent concurrent writes. Writes that wait for each other share a commit, and
    /// each can fail alone. The store begins and ends the transaction.
    pub(crate) async fn write_shared<T: Send + 'static>(
        &self,
        holder: String,
        write: impl for<'a> FnOnce(&'a mut SqliteConnection) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        refuse_in_handler(&self.shared.file)?;
        let shared = Arc::clone(&self.shared);
        let task = runtime()?.spawn(async move {
            let mut member = shared.writer.join(holder).await?;
            let written = write(member.connection()?).await;
            match member.settle(written) {
                Ok(written) => member.end().await.map(|()| written),
                Err(error) => {
                    member.undo().await?;
                    Err(error)
                }
            }
        });
        task.await.unwrap_or_else(|error| Err(StoreError::Unavailable { source: Box::new(error) }))
    }
}

/// Returns the runtime that the caller runs in.
pub(crate) fn runtime() -> Result<Handle, StoreError> {
    Handle::try_current().map_err(|_| StoreError::Refused {
        reason: "es-sqlite was called outside a tokio runtime; call it from within one",
    })
}

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        refuse_in_handler(&self.shared.file)?;
        let prepared = Prepared::new(append, self.shared.max_payload_bytes)?;
        self.shared.append(prepared).await
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        find_append(&self.shared.readers, key).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        read_stream::read_stream(&self.shared.readers, stream, after, page).await
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        filter.check()?;
        // Events in memory are invalid if the file was replaced.
        self.shared.opened.check_now_and_then()?;
        match self.shared.recent.read(after, filter, page) {
            Some(page) => Ok(page),
            None => read_all::read_all(&self.shared.readers, after, filter, page).await,
        }
    }

    async fn head(&self) -> Result<Position, StoreError> {
        read_all::head(&self.shared.readers).await
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        let mut reader = self.shared.readers.get().await?;
        let checked = read_all::check_places(reader.connection()?, std::iter::once(seen)).await;
        if let Err(StoreError::LogWentBack { .. }) = &checked {
            self.forget_recent();
        }
        reader.settle(checked)
    }

    fn forget_recent(&self) {
        self.shared.recent.clear();
    }

    /// Returns immediately, because a commit is flushed before it becomes visible. With
    /// [`Synchronous::Normal`](crate::Synchronous::Normal), it survives a crash of the process, but not one of the
    /// machine.
    async fn wait_durable(&self, _: Position) -> Result<(), StoreError> {
        Ok(())
    }

    /// Hints arrive immediately after an append of this store, and within [`POLL_INTERVAL`](crate::POLL_INTERVAL) after
    /// an append of another store or process.
    fn wakeups(&self) -> Wakeups {
        self.shared.subscribe()
    }

    fn command_queue(&self) -> CommandQueue {
        self.shared.command_queue.clone()
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.shared.file).finish_non_exhaustive()
    }
}
