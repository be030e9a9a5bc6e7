//! Code that is broken for some accounts, and is mended later.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use es_core::{DocumentAction, HandlerError, InvalidName, Projection, Recorded, TableNames, View};
use es_projections::{ConsumerOptions, FailurePolicy};
use es_testkit::bank::AccountEvent;
use serde::{Deserialize, Serialize};

use crate::workload::account;

/// Accounts of these tests.
pub const ACCOUNTS: u64 = 300;
/// Of these accounts nothing can be applied from some deposit on: 1 %.
pub const BAD: [u64; 3] = [7, 123, 299];

/// Whether an event is one of those that broken code cannot apply. Mended code can apply all.
fn is_bad(event: &Recorded<AccountEvent>) -> bool {
    let is_of = |number: &u64| *event.stream() == account(*number);
    event.version().get().is_multiple_of(3) && BAD.iter().any(is_of)
}

/// A ledger that fails, after it has written, while its code is broken.
#[derive(Debug)]
pub struct Picky<P> {
    /// What it writes to.
    pub ledger: P,
    /// Whether its code is broken.
    pub is_broken: Arc<AtomicBool>,
}

impl<P: Projection<Event = AccountEvent>> Projection for Picky<P> {
    type Connection = P::Connection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        self.ledger.name()
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        let ledger = self.ledger.in_generation(names)?;
        Ok(ledger.map(|ledger| Self { ledger, is_broken: Arc::clone(&self.is_broken) }))
    }

    async fn prepare(&self, connection: &mut P::Connection) -> Result<(), HandlerError> {
        self.ledger.prepare(connection).await
    }

    async fn apply(&self, connection: &mut P::Connection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.ledger.apply(connection, event).await?;
        match self.is_broken.load(Ordering::SeqCst) && is_bad(event) {
            true => Err(std::io::Error::other("cannot be applied").into()),
            false => Ok(()),
        }
    }

    async fn clear(&self, connection: &mut P::Connection) -> Result<(), HandlerError> {
        self.ledger.clear(connection).await
    }
}

/// The positions of each account's events in the order in which they took effect.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen<const MENDED: bool> {
    /// Of one account.
    pub positions: Vec<u64>,
}

impl<const MENDED: bool> View for Seen<MENDED> {
    const NAME: &'static str = "seen";
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
        assert!(MENDED || !is_bad(event), "cannot be applied");
        self.positions.push(event.position().get());
        DocumentAction::Keep
    }
}

/// How their consumers are run.
pub fn parks() -> ConsumerOptions {
    ConsumerOptions::default().on_failure(FailurePolicy::park_after(1))
}
