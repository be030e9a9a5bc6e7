//! Wakeups for new events: passed on within the process, and sent to other processes by NOTIFY and LISTEN.
//!
//! NOTIFY holds a lock of the whole server during its commit, so it is never part of an append. A background task sends
//! one notification for many appends, in a separate transaction that does not wait for a flush. If no process listens,
//! it sends none; each append detects listeners by an advisory lock that they hold.

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

/// The minimum time between two NOTIFYs of one store.
pub(crate) const NOTIFY_INTERVAL: Duration = Duration::from_millis(5);
/// The minimum time between two checks of the head of the log by a listener.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How long a listener waits after the first failure. The wait doubles with each further failure.
const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// The longest wait of a listener.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(10);

/// What a store needs to send and receive wakeups.
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

/// The wakeups of one store. Its tasks end when it is dropped.
pub(crate) struct Signals {
    sender: Arc<WakeupSender>,
    /// The most recently stored events, while readers wait for wakeups.
    pub(crate) recent: RecentEvents,
    /// What the notifier has to send; `None` if the store does not notify.
    untold: Option<watch::Sender<Position>>,
    /// The listener, until the first reader subscribes.
    listener: Mutex<Option<Listener>>,
    tasks: Mutex<Vec<AbortHandle>>,
    /// The runtime on which the store was connected.
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

    /// Keeps durable events in memory for readers that follow the log in this process. Without such readers, the events
    /// are not created.
    pub(crate) fn hand_on(&self, after: Bookmark, events: impl FnOnce() -> Vec<RecordedEvent>) {
        if self.sender.has_subscribers() {
            self.recent.push(after, events());
        }
    }

    /// Wakes readers in this process immediately, and readers in other processes soon, if there are any.
    pub(crate) fn announce(&self, head: Position, is_heard: bool) {
        self.sender.notify(head);
        if let Some(untold) = self.untold.as_ref().filter(|_| is_heard) {
            // The head may be lower than before, because the log may have gone back.
            untold.send_replace(head);
        }
    }

    /// Returns wakeups for another reader. The first reader starts the listener.
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

/// Notifies other processes.
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
                // A wakeup may be missing.
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

/// Receives the notifications of other processes over its own connection.
struct Listener {
    connect_options: PgConnectOptions,
    head_sql: SqlStr,
    lock_sql: SqlStr,
    channel: String,
    sender: Arc<WakeupSender>,
}

impl Listener {
    async fn run(self) {
        // A pool with one connection, because a listener requires a pool. It connects on demand.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .test_before_acquire(false)
            // The connection is idle as long as nothing happens.
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
        // Covers notifications that were sent before this connection listened.
        self.look(&mut listener).await?;
        while let Some(notification) = listener.try_recv().await? {
            let mut is_news = self.is_news(&notification);
            let mut claim = claim_of(&notification);
            while let Some(notification) = listener.next_buffered() {
                is_news |= self.is_news(&notification);
                claim = claim_of(&notification).or(claim);
            }
            if is_news {
                // Readers do not wait for the check, and it does not compete with them. If the claim is wrong, the
                // check corrects it. A lower claim is outdated, or the log went back, which the check detects.
                if let Some(claimed) = claim.filter(|claimed| *claimed > self.sender.latest()) {
                    self.sender.notify(claimed);
                }
                // All notifications that arrive in between cost one check.
                sleep(LOOK_INTERVAL).await;
                self.look(&mut listener).await?;
            }
        }
        Ok(())
    }

    /// Returns whether a notification claims another head than the known one; notifications of this process's own
    /// appends do not. Every role may send on the channel, so the claim only wakes readers, and the log determines
    /// where it ends.
    fn is_news(&self, notification: &PgNotification) -> bool {
        claim_of(notification) != Some(self.sender.latest())
    }

    /// Wakes readers with the current end of the log.
    async fn look(&self, listener: &mut PgListener) -> Result<(), sqlx::Error> {
        let row = sqlx::query(self.head_sql.clone()).persistent(false).fetch_one(listener).await?;
        self.sender.notify(Position::new(from_bigint(row.try_get(0)?)));
        Ok(())
    }
}

/// Returns the position at which a notification claims that the log ends.
fn claim_of(notification: &PgNotification) -> Option<Position> {
    notification.payload().parse().ok().map(Position::new)
}
