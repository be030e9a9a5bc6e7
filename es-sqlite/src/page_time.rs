//! Limits how long the page of a projection may hold the writer while other calls wait.

use std::{pin::pin, time::Duration};

use es_core::{ConsumerName, HandlerError, ProjectionError};

use crate::{
    limits::{MAX_PAGE_TIME, PAGE_TIME_CHECK_INTERVAL},
    turns::Turns,
    waiting::wait_at_most,
};

/// A runner treats this as a failure of the page, and then tries half of it.
#[derive(Debug, thiserror::Error)]
#[error("the handler worked on a page of {events} events for over {limit:?} while other writes waited for it")]
struct PageTooLong {
    events: usize,
    limit: Duration,
}

/// Waits for the handler of a page. If the handler takes longer than [`MAX_PAGE_TIME`] while other calls wait for the
/// writer, it is dropped. A page of one event cannot be made smaller, so its handler is not limited.
///
/// # Errors
/// Returns the error of the handler, or [`ProjectionError::Handler`] if it was dropped.
pub(crate) async fn bounded(
    turns: &Turns,
    projection: &ConsumerName,
    events: usize,
    handler: impl Future<Output = Result<(), ProjectionError>>,
) -> Result<(), ProjectionError> {
    let mut handler = pin!(handler);
    let mut time = MAX_PAGE_TIME;
    loop {
        if let Some(done) = wait_at_most(time, handler.as_mut()).await {
            return done;
        }
        if events > 1 && turns.are_waited_for() {
            let too_long = PageTooLong { events, limit: MAX_PAGE_TIME };
            return Err(ProjectionError::handler(projection, HandlerError::from(too_long)));
        }
        time = PAGE_TIME_CHECK_INTERVAL;
    }
}
