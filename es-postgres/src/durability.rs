//! What has been flushed, where commits do not wait for it.

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
    /// Whether some process appends in the pipelined mode, or has ever done so. It never becomes false again.
    is_pipelined: AtomicBool,
    /// Everything up to here is flushed.
    flushed_to: AtomicU64,
    /// One flush at a time: whoever waits for the one before may find its own position flushed.
    flushing: Mutex<()>,
}

impl Durability {
    /// Notes what the log's own row says.
    pub(crate) fn learn(&self, is_pipelined: bool) {
        if is_pipelined {
            self.is_pipelined.store(true, Ordering::Relaxed);
        }
    }

    /// How much is known to be durable of what a page has shown up to a position. In the ordinary mode of commits, what can
    /// be seen has been flushed; the page may have told the mode.
    pub(crate) fn durable_to(&self, scanned_to: Position, is_pipelined: Option<bool>) -> Position {
        self.learn(is_pipelined == Some(true));
        match is_pipelined {
            Some(false) => scanned_to,
            Some(true) | None => scanned_to.min(self.flushed_to()),
        }
    }

    /// Notes that everything up to a position is flushed.
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
    /// Learns the mode of the log, and changes it if this store is the first one that appends in the pipelined mode.
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
            // In the ordinary mode of commits, what can be seen has been flushed. Another process may have changed the mode.
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
        // Through a pooler the flush is the one of the transaction around it.
        let flushed_to = send_flush(self, &mut session).await?;
        session.finish().await?;
        durability.flushed(Some(flushed_to));
        if position > flushed_to {
            // Whoever saw an event there saw it before the server crashed, and is to look again.
            return Err(StoreError::Unavailable { source: Lost { position, flushed_to }.into() });
        }
        Ok(())
    }

    /// Waits for a flush that covers everything that was committed before.
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

/// Gives the head before the flush, which it covers once the statement's transaction is committed.
async fn send_flush(shared: &Shared, connection: &mut PgConnection) -> Result<Position, StoreError> {
    let query = shared.query(&shared.statements.flush);
    let row = query.fetch_one(connection).await.map_err(store_error)?;
    get_position(&row, 0)
}
