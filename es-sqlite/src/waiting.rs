//! Waiting with an end.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

/// Waits for something, but no longer than so long; `None` if it did not come.
pub(crate) async fn wait_at_most<T>(most: Duration, awaited: impl Future<Output = T>) -> Option<T> {
    let start = Instant::now();
    let mut awaited = pin!(awaited);
    loop {
        let left = most.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, &mut awaited).await {
            Ok(outcome) => return Some(outcome),
            // The runtime's clock may be a test's and run ahead; what is waited for works on the true clock.
            Err(_) if start.elapsed() < most => tokio::task::yield_now().await,
            Err(_) => return None,
        }
    }
}
