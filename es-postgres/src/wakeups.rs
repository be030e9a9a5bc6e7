//! Hints that there may be new events: pushed within the process, told to other processes by NOTIFY, heard by LISTEN.
//!
//! NOTIFY holds a lock of the whole server through its commit, so it never rides on an append. A background task sends
//! one for many appends, in a transaction of its own that does not wait for a flush; and none if nobody listens, which
//! each append sees by an advisory lock that listeners hold.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use es_core::{Bookmark, Position, RecentEvents, RecordedEvent, WakeupSender, Wakeups};
use sqlx::{
    PgPool, Row, SqlStr,
    postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions},
};
use tokio::{runtime::Handle, sync::watch, task::AbortHandle, time::sleep};

use crate::{rows::from_bigint, statements::Statements};

/// The least time between two NOTIFYs of one store.
pub(crate) const NOTIFY_INTERVAL: Duration = Duration::from_millis(5);
/// The least time between two looks of a listener at the head of the log.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How long a listener waits after the first failure; twice as long after each further one.
const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// The longest that a listener waits.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(10);

/// What a store needs to send and hear hints.
pub(crate) struct SignalOptions {
    pub(crate) pool: PgPool,
    pub(crate) connect_options: PgConnectOptions,
    pub(crate) statements: Arc<Statements>,
    pub(crate) channel: String,
    pub(crate) notify: bool,
    pub(crate) listen: bool,
    /// Whether statements cannot be prepared.
    pub(crate) pgbouncer: bool,
}

/// The hints of one store. Its tasks end when it is dropped.
pub(crate) struct Signals {
    sender: Arc<WakeupSender>,
    /// What was stored last, while somebody waits for hints.
    pub(crate) recent: RecentEvents,
    /// What the notifier is to tell; `None` if nobody is told.
    untold: Option<watch::Sender<Position>>,
    /// The listener, as long as nobody has subscribed.
    listener: Mutex<Option<Listener>>,
    tasks: Mutex<Vec<AbortHandle>>,
    /// Where the store was connected.
    runtime: Handle,
}

impl Signals {
    /// Must be called within a runtime.
    pub(crate) fn start(options: SignalOptions) -> Self {
        let sender = Arc::new(WakeupSender::new());
        let runtime = Handle::current();
        let SignalOptions { pool, connect_options, statements, channel, notify, listen, pgbouncer } = options;
        let mut tasks = Vec::new();
        let untold = notify.then(|| {
            let (untold, head) = watch::channel(Position::ZERO);
            let notifier = Notifier { pool, sql: statements.notify.clone(), channel: channel.clone(), pgbouncer };
            tasks.push(runtime.spawn(notifier.run(head)).abort_handle());
            untold
        });
        let listener = listen.then(|| Listener {
            connect_options,
            head_sql: statements.head.clone(),
            lock_sql: statements.lock_as_listener.clone(),
            channel,
            sender: Arc::clone(&sender),
        });
        let (recent, listener, tasks) = (RecentEvents::new(), Mutex::new(listener), Mutex::new(tasks));
        Self { sender, recent, untold, listener, tasks, runtime }
    }

    /// Keeps durable events in memory for readers that follow the log here; without such readers it does not make them.
    pub(crate) fn hand_on(&self, after: Bookmark, events: impl FnOnce() -> Vec<RecordedEvent>) {
        if self.sender.has_subscribers() {
            self.recent.push(after, events());
        }
    }

    /// Tells everybody, here at once, elsewhere soon if anybody listens there.
    pub(crate) fn announce(&self, head: Position, is_heard: bool) {
        self.sender.notify(head);
        if let Some(untold) = self.untold.as_ref().filter(|_| is_heard) {
            // Also a lower one than before: the log may have gone back.
            untold.send_replace(head);
        }
    }

    /// Hints for one more reader. The first one starts the listener.
    pub(crate) fn subscribe(&self) -> Wakeups {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            let task = self.runtime.spawn(listener.run()).abort_handle();
            self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        }
        self.sender.subscribe()
    }

    /// Ends the tasks.
    pub(crate) fn stop(&self) {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.recent.clear();
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells other processes.
struct Notifier {
    pool: PgPool,
    sql: SqlStr,
    channel: String,
    pgbouncer: bool,
}

impl Notifier {
    async fn run(self, mut head: watch::Receiver<Position>) {
        while head.changed().await.is_ok() {
            let position = *head.borrow_and_update();
            if let Err(error) = self.send(position).await {
                // A hint may be missing.
                tracing::debug!(%position, error = &error as &dyn std::error::Error, "NOTIFY failed");
            }
            sleep(NOTIFY_INTERVAL).await;
        }
    }

    async fn send(&self, position: Position) -> Result<(), sqlx::Error> {
        let query = sqlx::query(self.sql.clone()).persistent(!self.pgbouncer);
        let query = query.bind(&self.channel).bind(position.to_string());
        if self.pgbouncer {
            let mut transaction = self.pool.begin().await?;
            query.execute(&mut *transaction).await?;
            return transaction.commit().await;
        }
        query.execute(&self.pool).await?;
        Ok(())
    }
}

/// Hears what other processes tell, by a connection of its own.
struct Listener {
    connect_options: PgConnectOptions,
    head_sql: SqlStr,
    lock_sql: SqlStr,
    channel: String,
    sender: Arc<WakeupSender>,
}

impl Listener {
    async fn run(self) {
        // A pool of one, since that is what a listener takes. It opens a connection when it is asked to.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .test_before_acquire(false)
            // It waits for as long as nothing happens.
            .connect_lazy_with(self.connect_options.clone().options([("idle_session_timeout", "0")]));
        let mut delay = FIRST_RECONNECT_DELAY;
        loop {
            match self.listen(&pool, &mut delay).await {
                Ok(()) => tracing::debug!(channel = self.channel, "the listening connection was lost"),
                Err(error) => tracing::debug!(
                    channel = self.channel,
                    error = &error as &dyn std::error::Error,
                    "LISTEN failed; readers poll"
                ),
            }
            sleep(delay).await;
            delay = (delay * 2).min(MAX_RECONNECT_DELAY);
        }
    }

    /// Listens until the connection is lost.
    async fn listen(&self, pool: &PgPool, delay: &mut Duration) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        sqlx::query(self.lock_sql.clone()).persistent(false).fetch_one(&mut listener).await?;
        listener.listen(&self.channel).await?;
        *delay = FIRST_RECONNECT_DELAY;
        // What was told before this connection listened.
        self.look(&mut listener).await?;
        while let Some(notification) = listener.try_recv().await? {
            let mut is_news = self.is_news(&notification);
            let mut claim = claim_of(&notification);
            while let Some(notification) = listener.next_buffered() {
                is_news |= self.is_news(&notification);
                claim = claim_of(&notification).or(claim);
            }
            if is_news {
                // Readers do not wait for the look, and it does not compete with them. If the claim is wrong, the look tells
                // them so. A lower one is an old one, or the log went back, which the look finds.
                if let Some(claimed) = claim.filter(|claimed| *claimed > self.sender.latest()) {
                    self.sender.notify(claimed);
                }
                // However many notifications come in between, they cost one look.
                sleep(LOOK_INTERVAL).await;
                self.look(&mut listener).await?;
            }
        }
        Ok(())
    }

    /// Whether a notification tells of another head than the one that is known here, as those of this process's own appends do
    /// not. Every role may send on the channel, so the claim wakes readers and is believed no further: the log says where it ends.
    fn is_news(&self, notification: &PgNotification) -> bool {
        claim_of(notification) != Some(self.sender.latest())
    }

    /// Hints where the log ends.
    async fn look(&self, listener: &mut PgListener) -> Result<(), sqlx::Error> {
        let row = sqlx::query(self.head_sql.clone()).persistent(false).fetch_one(listener).await?;
        self.sender.notify(Position::new(from_bigint(row.try_get(0)?)));
        Ok(())
    }
}

/// Where a notification claims that the log ends.
fn claim_of(notification: &PgNotification) -> Option<Position> {
    notification.payload().parse().ok().map(Position::new)
}
