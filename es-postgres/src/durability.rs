//! Tracks what has been flushed, where commits do not wait for the flush.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use es_core::{Position, StoreError};
use sqlx::PgConnection;
use tokio::sync::Mutex;

use crate::{
    error::store_error,
    rows::{get, get_position},
    store::Shared,
};

/// What this process knows about flushes.
#[derive(Debug, Default)]
pub(crate) struct Durability {
    /// Whether any process appends in the pipelined mode or has ever done so. It never becomes false again.
    is_pipelined: AtomicBool,
    /// All events up to here are flushed.
    flushed_to: AtomicU64,
    /// Allows one flush at a time. A task that waited for the previous flush may find its own position flushed.
    flushing: Mutex<()>,
}

impl Durability {
    /// Records the mode that the row of the log states.
    pub(crate) fn learn(&self, is_pipelined: bool) {
        if is_pipelined {
            self.is_pipelined.store(true, Ordering::Relaxed);
        }
    }

    /// Returns up to which position the scanned range of a page is known to be durable. In the ordinary mode,
    /// everything visible has been flushed; the page may have included the mode.
    pub(crate) fn durable_to(&self, scanned_to: Position, is_pipelined: Option<bool>) -> Position {
        self.learn(is_pipelined == Some(true));
        match is_pipelined {
            Some(false) => scanned_to,
            Some(true) | None => scanned_to.min(self.flushed_to()),
        }
    }

    /// Records that everything up to a position is flushed.
    pub(crate) fn flushed(&self, to: Option<Position>) {
        if let Some(to) = to {
            self.flushed_to.fetch_max(to.get(), Ordering::Release);
        }
    }

    fn flushed_to(&self) -> Position {
        Position::new(self.flushed_to.load(Ordering::Acquire))
    }
}

impl Shared {
    /// Reads the mode of the log, and changes it if this store is the first one that appends in the pipelined mode.
    pub(crate) async fn note_mode(&self) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        if self.settings.pipelined {
            let query = self.query(&self.statements.set_pipelined);
            query.execute(&mut *session).await.map_err(store_error)?;
        }
        let query = self.query(&self.statements.is_pipelined);
        let row = query.fetch_one(&mut *session).await.map_err(store_error)?;
        session.finish().await?;
        self.durability.learn(get(&row, 0)?);
        Ok(())
    }

    /// Returns when everything up to a position is flushed.
    pub(crate) async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        let durability = &self.durability;
        if position <= durability.flushed_to() {
            return Ok(());
        }
        if !durability.is_pipelined.load(Ordering::Relaxed) {
            // In the ordinary mode, everything visible has been flushed. Another process may have changed the mode.
            let mut session = self.session().await?;
            let query = self.query(&self.statements.is_pipelined);
            let row = query.fetch_one(&mut *session).await.map_err(store_error)?;
            session.finish().await?;
            durability.learn(get(&row, 0)?);
            if !durability.is_pipelined.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        let _turn = durability.flushing.lock().await;
        if position <= durability.flushed_to() {
            return Ok(());
        }
        let mut session = self.session().await?;
        // Through a pooler, the flush is that of the surrounding transaction.
        let flushed_to = send_flush(self, &mut session).await?;
        session.finish().await?;
        durability.flushed(Some(flushed_to));
        if position > flushed_to {
            // The caller saw an event there before the server crashed, and must read again.
            return Err(StoreError::Unavailable { source: Lost { position, flushed_to }.into() });
        }
        Ok(())
    }

    /// Waits for a flush that covers everything committed earlier.
    pub(crate) async fn flush(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let flushed_to = if self.settings.pgbouncer {
            let mut transaction = sqlx::Connection::begin(connection).await.map_err(store_error)?;
            let flushed_to = send_flush(self, &mut transaction).await?;
            transaction.commit().await.map_err(store_error)?;
            flushed_to
        } else {
            send_flush(self, connection).await?
        };
        self.durability.flushed(Some(flushed_to));
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "nothing stands at position {position} any more, the log ends at {flushed_to}: it was lost before it was flushed"
)]
struct Lost {
    position: Position,
    flushed_to: Position,
}

/// Returns the head before the flush. The flush covers it once the statement's transaction is committed.
async fn send_flush(shared: &Shared, connection: &mut PgConnection) -> Result<Position, StoreError> {
    let query = shared.query(&shared.statements.flush);
    let row = query.fetch_one(connection).await.map_err(store_error)?;
    get_position(&row, 0)
}
