//! A store that fails on purpose: lost requests, lost answers, busy locks, delays.

mod control;
mod delegation;
mod messaging;
mod parking;
mod plan;
mod records;

use std::sync::Arc;

use es_core::StoreError;
use tokio::task::yield_now;

pub use plan::{Fault, FaultPlan, Operation};

/// Wraps a store and fails as a [`FaultPlan`] says: for tests of whatever must survive a bad network.
///
/// A fault is an error that a real store may answer with at any time, so code that keeps its promises on a good store must
/// keep them on this one. Clones share the plan.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use es_core::{MemoryStore, Repository};
/// use es_testkit::{Fault, FaultPlan, FaultyStore, Operation, bank::*};
///
/// let store = FaultyStore::new(MemoryStore::new(), FaultPlan::none());
/// let accounts = Repository::<Account>::new(&store);
/// accounts.execute("ann", AccountCommand::Open { owner: "Ann".into() }).await?;
///
/// // The deposit is stored, but the answer does not arrive: the repository finds out, and it is stored once.
/// store.plan().fail_next(Operation::Append, Fault::LostAnswer);
/// let done = accounts.execute("ann", AccountCommand::Deposit { cents: 5 }).await?;
/// assert_eq!(done.state.cents, 5);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FaultyStore<S> {
    store: S,
    plan: Arc<FaultPlan>,
}

impl<S: Clone> Clone for FaultyStore<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), plan: Arc::clone(&self.plan) }
    }
}

impl<S> FaultyStore<S> {
    /// A store that fails by a plan.
    pub fn new(store: S, plan: FaultPlan) -> Self {
        Self { store, plan: Arc::new(plan) }
    }

    /// The store itself: what it really holds.
    pub fn intact(&self) -> &S {
        &self.store
    }

    /// The plan, to change it on the way.
    pub fn plan(&self) -> &FaultPlan {
        &self.plan
    }

    /// Makes a call, or fails before or after it.
    async fn call<T, E: From<StoreError>>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let (yields, fault) = self.plan.draw(operation);
        for _ in 0..yields {
            yield_now().await;
        }
        match fault {
            None => call.await,
            Some(Fault::Busy) => {
                Err(StoreError::Busy { waiting_for: "a lock, on purpose".to_owned(), source: None }.into())
            }
            Some(Fault::LostRequest) => Err(unavailable().into()),
            Some(Fault::LostAnswer) => {
                // Whatever it was, the caller does not learn it.
                let _ = call.await;
                Err(unavailable().into())
            }
        }
    }
}

/// The source of every `Unavailable` that was made on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut on purpose")]
struct CutOnPurpose;

fn unavailable() -> StoreError {
    StoreError::Unavailable { source: Box::new(CutOnPurpose) }
}
