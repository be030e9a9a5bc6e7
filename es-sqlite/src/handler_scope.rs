//! Detects whether code runs inside a handler of a projection or of messages, whose transaction holds the writer.

use std::{path::Path, sync::Arc};

use es_core::StoreError;

tokio::task_local! {
    /// The files whose writer a handler holds further up in this task.
    static HELD: Vec<Arc<Path>>;
}

/// Runs a handler of a projection or of messages on the store of a file.
pub(crate) async fn in_handler<T>(file: &Arc<Path>, handler: impl Future<Output = T>) -> T {
    let mut held = HELD.try_with(Clone::clone).unwrap_or_default();
    held.push(Arc::clone(file));
    HELD.scope(held, handler).await
}

/// Refuses a write from inside a handler on the same file, because it would wait for itself.
pub(crate) fn refuse_in_handler(file: &Arc<Path>) -> Result<(), StoreError> {
    let is_held = HELD.try_with(|held| held.contains(file)).unwrap_or(false);
    if is_held {
        return Err(StoreError::Refused {
            reason: "a handler cannot write to its own store past its transaction, which holds the only writer; write with \
                     the handler's connection, give appends to the unit of the message, or execute commands from a \
                     reactor",
        });
    }
    Ok(())
}
