//! Reads of the ends of streams, several in one call: what group commit is to appends.
//!
//! A command looks at what its stream holds since the cached state, which is little; the round trip is all that it
//! costs. A task of the store's own takes the reads that wait, calls the database once for all of them, and answers each. While
//! it is at that, the next ones gather. It has a connection of its own, which no pool tests after each use.
//!
//! Nobody depends on it: whoever gets no answer reads by itself, and has the error of that.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use es_core::{StoreError, StreamId, StreamPage, Version};
use futures_util::TryStreamExt;
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    connections::Kept,
    error::{read_error, store_error},
    rows::{EventRows, from_bigint, get, to_bigint},
    store::Shared,
};

/// Most reads that share a call, and most that wait.
const MAX_READS: usize = 100;
/// Most events that a read gives.
const MAX_EVENTS: usize = 32;
/// The largest payload that is sent, so that what a call holds is bounded.
const MAX_PAYLOAD_BYTES: usize = 4 * 1_024;

/// A read that somebody waits for.
#[derive(Debug)]
struct Read {
    stream: StreamId,
    after: Version,
    answer: oneshot::Sender<StreamPage>,
}

/// The way to the reader. It ends when it is dropped or closed.
pub(crate) struct Tails {
    /// `None` once it is closed.
    reads: Mutex<Option<mpsc::Sender<Read>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// The other end of the way.
pub(crate) struct Waiting(mpsc::Receiver<Read>);

impl Tails {
    /// Makes the way; [`start`](Self::start) puts somebody at its end.
    pub(crate) fn new() -> (Self, Waiting) {
        let (sender, reads) = mpsc::channel(MAX_READS);
        (Self { reads: Mutex::new(Some(sender)), task: Mutex::default() }, Waiting(reads))
    }

    /// Starts the reader of a store on the current runtime.
    pub(crate) fn start(shared: &Arc<Shared>, Waiting(reads): Waiting) {
        let reader = Reader { shared: Arc::downgrade(shared), reads, connection: Kept::default() };
        let task = tokio::spawn(reader.run());
        *shared.tails.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// The first events of a stream after a version, at least one if there is any; `None` if the caller has to read by
    /// itself.
    pub(crate) async fn read(&self, stream: &StreamId, after: Version) -> Option<StreamPage> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (answer, page) = oneshot::channel();
        reads.try_send(Read { stream: stream.clone(), after, answer }).ok()?;
        drop(reads);
        page.await.ok()
    }

    /// Takes no more reads.
    pub(crate) fn stop(&self) {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Returns when it has [stopped](Self::stop) and the reads that waited are done.
    pub(crate) async fn stopped(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It ends, or its runtime has ended it.
            let _ = task.await;
        }
    }
}

/// The task that reads.
struct Reader {
    /// Not the store itself, which shall be dropped while its reader waits.
    shared: Weak<Shared>,
    reads: mpsc::Receiver<Read>,
    connection: Kept,
}

impl Reader {
    async fn run(mut self) {
        let mut waiting = Vec::new();
        let mut is_busy = false;
        while self.reads.recv_many(&mut waiting, MAX_READS).await > 0 {
            // Those who were answered together are likely to come back together.
            if is_busy {
                tokio::task::yield_now().await;
            }
            while waiting.len() < MAX_READS
                && let Ok(read) = self.reads.try_recv()
            {
                waiting.push(read);
            }
            // A caller that was dropped does not want to know.
            waiting.retain(|read| !read.answer.is_closed());
            is_busy = waiting.len() > 1;
            // Without it all callers are gone.
            let Some(shared) = self.shared.upgrade() else { return };
            match self.read(&shared, &waiting).await {
                Ok(pages) => {
                    for (read, page) in waiting.drain(..).zip(pages) {
                        if let Some(page) = page {
                            let _ = read.answer.send(page);
                        }
                    }
                }
                Err(error) => {
                    shared.note_if_lost(&error);
                    tracing::debug!(error = &error as &dyn std::error::Error, "ends of streams are read one by one");
                    waiting.clear();
                }
            }
        }
    }

    async fn read(&mut self, shared: &Shared, reads: &[Read]) -> Result<Vec<Option<StreamPage>>, StoreError> {
        // Dropped after an error, it is tested by its pool.
        let mut connection = self.connection.take(shared, &shared.tail_pool).await?;
        let pages = if shared.settings.pgbouncer {
            let mut transaction = connection.begin_with(shared.begin.clone()).await.map_err(store_error)?;
            let pages = read_tails(shared, &mut transaction, reads).await?;
            transaction.commit().await.map_err(store_error)?;
            pages
        } else {
            read_tails(shared, &mut connection, reads).await?
        };
        self.connection.keep(connection);
        Ok(pages)
    }
}

/// A page for each read; none where its first event is not for this call.
async fn read_tails(
    shared: &Shared,
    connection: &mut PgConnection,
    reads: &[Read],
) -> Result<Vec<Option<StreamPage>>, StoreError> {
    let streams: Vec<&str> = reads.iter().map(|read| read.stream.as_str()).collect();
    let after: Vec<i64> = reads.iter().map(|read| to_bigint(read.after.get())).collect();
    let query = shared
        .query(&shared.statements.read_tails)
        .bind(streams)
        .bind(after)
        // One more than is given, which tells that there are more.
        .bind(to_bigint(MAX_EVENTS as u64 + 1))
        .bind(to_bigint(MAX_PAYLOAD_BYTES as u64));
    let mut pages: Vec<_> = reads.iter().map(|_| StreamPage::new(Vec::new(), true)).collect();
    let mut rows = query.fetch(connection);
    let mut events = EventRows::default();
    while let Some(row) = rows.try_next().await.map_err(read_error)? {
        let number = usize::try_from(from_bigint(get(&row, 9)?)).unwrap_or(0);
        let page = number.checked_sub(1).and_then(|index| pages.get_mut(index));
        let page =
            page.ok_or_else(|| StoreError::Backend { source: "a row of a stream that was not asked for".into() })?;
        // Its page has ended; the rows are read so that the connection is ready for the next statement.
        if !page.is_last {
            continue;
        }
        if page.events.len() < MAX_EVENTS && events.add_row(&row)? {
            page.events.append(&mut events.events);
        } else {
            page.is_last = false;
        }
    }
    Ok(pages.into_iter().map(|page| Some(page).filter(|page| page.is_last || !page.events.is_empty())).collect())
}
