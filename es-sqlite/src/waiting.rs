//! Waits with a time limit.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

/// Waits for a future for at most this time. Returns `None` if it did not complete.
pub(crate) async fn wait_at_most<T>(most: Duration, awaited: impl Future<Output = T>) -> Option<T> {
    let start = Instant::now();
    let mut awaited = pin!(awaited);
    loop {
        let left = most.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, &mut awaited).await {
            Ok(outcome) => return Some(outcome),
            // The runtime's clock may be a test clock that runs ahead, but the awaited work uses the real clock.
            Err(_) if start.elapsed() < most => tokio::task::yield_now().await,
            Err(_) => return None,
        }
    }
}
