//! What a store gives the conformance suite, so that the suite can run on it.

use es_core::{
    BlobStore, DeadLetterStore, Enqueue, InboxStore, MessageUnit, OutboxStore, Projection, ProjectionStore,
    RunnerStore, SnapshotStore, store::RecordStore,
};

use crate::bank::AccountEvent;

/// Gives the conformance suite stores to work on.
///
/// A failure to make one is a panic: the test it was for has failed, with the reason.
pub trait StoreHarness: Send + Sync + 'static {
    /// The store under test.
    type Store: RunnerStore
        + SnapshotStore
        + ProjectionStore
        + InboxStore<Unit = Self::Unit>
        + DeadLetterStore
        + BlobStore
        + RecordStore
        + OutboxStore
        + Enqueue
        + Clone
        + 'static;
    /// The transaction in which messages take effect.
    type Unit: MessageUnit<Connection = <Self::Store as ProjectionStore>::Connection> + 'static;
    /// See [`begin`](Self::begin).
    type Transaction: OpenTransaction<Connection = <Self::Store as Enqueue>::Connection>;
    /// See [`ledger`](Self::ledger).
    type Ledger: Projection<Connection = <Self::Store as ProjectionStore>::Connection, Event = AccountEvent>;

    /// Whether several transactions may write at the same time.
    const CONCURRENT_TRANSACTIONS: bool;

    /// An empty store that no other test uses.
    fn fresh(&self) -> impl Future<Output = Self::Store> + Send;

    /// A second handle to the same data, with connections of its own: as another process would have it.
    fn reopened(&self, store: &Self::Store) -> impl Future<Output = Self::Store> + Send;

    /// A transaction of the caller's own, open until it is ended.
    fn begin(&self, store: &Self::Store) -> impl Future<Output = Self::Transaction> + Send;

    /// A projection called `name` that inserts a row of [`LedgerRow`]'s columns into a table of its own for each event, by
    /// a plain `INSERT` without any check for duplicates: it shows what is applied twice or not at all.
    fn ledger(&self, name: &str) -> Self::Ledger;

    /// Runs a statement that the database refuses, within a transaction. A store whose writes cannot fail has none.
    fn failing_statement(
        &self,
        connection: &mut <Self::Store as ProjectionStore>::Connection,
    ) -> impl Future<Output = ()> + Send {
        let _ = connection;
        async {}
    }

    /// What the ledger called `name` has written, in the order of positions.
    fn ledger_rows(&self, store: &Self::Store, name: &str) -> impl Future<Output = Vec<LedgerRow>> + Send;
}

/// A transaction that the suite holds open.
pub trait OpenTransaction: Send {
    /// What is written with.
    type Connection: Send;

    /// The connection, within the transaction.
    fn connection(&mut self) -> &mut Self::Connection;

    /// Makes it.
    fn commit(self) -> impl Future<Output = ()> + Send;

    /// Takes it back, and returns when that has happened.
    fn rollback(self) -> impl Future<Output = ()> + Send;
}

/// One row of the ledger: one event that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// The event's position.
    pub position: u64,
    /// The text form of its stream.
    pub stream: String,
    /// Its stored type.
    pub event_type: String,
    /// Cents deposited (positive), withdrawn (negative), or 0.
    pub cents: i64,
}

impl LedgerRow {
    /// The row that an event makes.
    pub fn of(event: &es_core::Recorded<AccountEvent>) -> Self {
        let cents = match event.event {
            AccountEvent::Deposited { cents } => cents,
            AccountEvent::Withdrawn { cents } => -cents,
            AccountEvent::Opened { .. } | AccountEvent::Closed => 0,
        };
        let (position, stream) = (event.position().get(), event.stream().to_string());
        Self { position, stream, event_type: event.event_type().to_owned(), cents }
    }
}
