//! Detects a handler of a projection or of messages that appends to its own store.
//!
//! In an inline projection it would wait for the lock that its own append holds; on a runner its events would stay
//! though its page was rolled back, and in a unit of messages though that was. What a handler does in a task that it spawned is not noticed.

use es_core::StoreError;

use crate::store::Shared;

tokio::task_local! {
    /// The stores of the handlers that run in this task, outermost first, by address.
    static STORES: Vec<usize>;
}

/// Runs a handler of a projection or of messages on a store.
pub(crate) async fn in_handler<F: Future>(shared: &Shared, handler: F) -> F::Output {
    let mut stores = STORES.try_with(Clone::clone).unwrap_or_default();
    stores.push(address(shared));
    STORES.scope(stores, handler).await
}

/// Refuses a call within a handler on the same store.
pub(crate) fn refuse_in_handler(shared: &Shared) -> Result<(), StoreError> {
    match STORES.try_with(|stores| stores.contains(&address(shared))) {
        Ok(true) => Err(StoreError::Refused {
            reason: "a handler must not append to its own store past its transaction, nor execute commands on it; give \
                     appends to the unit of the message, or react to the event by a reactor",
        }),
        // An error means that no handler runs in this task.
        Ok(false) | Err(_) => Ok(()),
    }
}

fn address(shared: &Shared) -> usize {
    std::ptr::from_ref(shared).addr()
}
