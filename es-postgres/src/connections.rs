//! Connections that were closed while nobody used them: by the server's `idle_session_timeout`, an administrator, a proxy or a
//! firewall.
//!
//! A connection that was idle for a moment is tested before it is used. One that is lost in between is noticed by the statement
//! that fails on it; reads are then repeated, and so are writes of which the server has said that they did not take effect.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use es_core::{StoreError, limits};
use sqlx::{
    Connection, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use crate::store::Shared;

/// A connection that was idle for so long is tested before it is used: a round trip, which a busy store never pays.
pub(crate) const IDLE_BEFORE_TEST: Duration = Duration::from_millis(250);
/// How long such a test may take: whatever stands between may swallow what is sent on a connection that it has forgotten.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);

/// What is known about the connections of one store.
#[derive(Debug)]
pub(crate) struct Liveness {
    since: Instant,
    /// When a connection was last found to be lost, in microseconds after `since`; 0 if none was.
    lost_at: AtomicU64,
}

impl Default for Liveness {
    fn default() -> Self {
        Self { since: Instant::now(), lost_at: AtomicU64::new(0) }
    }
}

impl Liveness {
    /// Notes that a connection was lost. Those that were idle then are tested, since the reason may have been the same.
    pub(crate) fn note_loss(&self) {
        self.lost_at.fetch_max(micros(self.since.elapsed()).max(1), Ordering::Relaxed);
    }

    fn is_suspect(&self, idle: Duration) -> bool {
        let idle_since = micros(self.since.elapsed().saturating_sub(idle));
        idle >= IDLE_BEFORE_TEST || idle_since < self.lost_at.load(Ordering::Relaxed)
    }

    /// Whether a connection that was idle for so long can be used.
    async fn is_usable(&self, connection: &mut PgConnection, idle: Duration) -> bool {
        !self.is_suspect(idle) || matches!(timeout(TEST_TIMEOUT, connection.ping()).await, Ok(Ok(())))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A pool that opens connections when they are asked for, and tests those that were idle. Without `idle_timeout` it keeps
/// them.
pub(crate) fn pool(
    options: PgConnectOptions,
    max_connections: u32,
    acquire_timeout: Duration,
    idle_timeout: Option<Duration>,
    liveness: &Arc<Liveness>,
) -> PgPool {
    let liveness = Arc::clone(liveness);
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(acquire_timeout)
        .idle_timeout(idle_timeout)
        // It would test at each use.
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let liveness = Arc::clone(&liveness);
            Box::pin(async move { Ok(liveness.is_usable(connection, meta.idle_for).await) })
        });
    let pool = if idle_timeout.is_none() { pool.max_lifetime(None) } else { pool };
    pool.connect_lazy_with(options)
}

/// The connection that a background task keeps between two calls.
#[derive(Default)]
pub(crate) struct Kept(Option<(PoolConnection<Postgres>, Instant)>);

impl Kept {
    /// The kept connection if it can still be used, or another one.
    pub(crate) async fn take(
        &mut self,
        shared: &Shared,
        pool: &PgPool,
    ) -> Result<PoolConnection<Postgres>, StoreError> {
        if let Some((mut connection, last_used)) = self.0.take() {
            if shared.liveness.is_usable(&mut connection, last_used.elapsed()).await {
                return Ok(connection);
            }
            connection.close_on_drop();
        }
        pool.acquire().await.map_err(|error| shared.acquire_error(pool, error))
    }

    /// Keeps a connection on which the last call has ended.
    pub(crate) fn keep(&mut self, connection: PoolConnection<Postgres>) {
        self.0 = Some((connection, Instant::now()));
    }
}

impl Shared {
    /// Calls something that only reads, again if its connection turns out to be lost.
    pub(crate) async fn reading<T, F, R>(&self, read: F) -> Result<T, StoreError>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        self.repeating(is_lost, read).await
    }

    /// Calls something that writes by a single statement, again if the server has ended the session before the statement
    /// took effect.
    pub(crate) async fn writing<T, F, R>(&self, write: F) -> Result<T, StoreError>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        self.repeating(|error| self.is_without_effect(error), write).await
    }

    async fn repeating<T, F, R>(&self, may_repeat: impl Fn(&StoreError) -> bool, call: F) -> Result<T, StoreError>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        let mut left = limits::RECONNECTS_PER_CALL;
        loop {
            match call().await {
                Err(error) if self.note_if_lost(&error) && left > 0 && may_repeat(&error) => left -= 1,
                outcome => return outcome,
            }
        }
    }

    /// Whether a call failed because its connection is gone; the others are tested then.
    pub(crate) fn note_if_lost(&self, error: &StoreError) -> bool {
        let is_lost = is_lost(error);
        if is_lost {
            self.liveness.note_loss();
            tracing::debug!(error = error as &dyn std::error::Error, "a connection was lost");
        }
        is_lost
    }

    /// Whether the server has ended the session and said so before it said that the statement was done. It rolls back
    /// first, so the transaction has had no effect. A pooler may send the same for reasons of its own.
    pub(crate) fn is_without_effect(&self, error: &StoreError) -> bool {
        !self.settings.pgbouncer && driver_error(error).is_some_and(is_end_of_session)
    }
}

fn driver_error(error: &StoreError) -> Option<&sqlx::Error> {
    match error {
        StoreError::Unavailable { source } => source.downcast_ref(),
        _ => None,
    }
}

fn is_lost(error: &StoreError) -> bool {
    driver_error(error).is_some_and(is_lost_connection)
}

/// Whether a statement failed because its connection is gone.
pub(crate) fn is_lost_connection(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            matches!(&*code, "57P01" | "57P02" | "57P05") || code.starts_with("08")
        }
        _ => false,
    }
}

/// `admin_shutdown` and `idle_session_timeout`: the server sends them between statements, or rolls back.
fn is_end_of_session(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    matches!(&*code, "57P01" | "57P05")
}
