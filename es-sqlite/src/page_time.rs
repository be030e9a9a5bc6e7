//! How long the page of a projection may keep the writer from others.

use std::{pin::pin, time::Duration};

use es_core::{ConsumerName, HandlerError, ProjectionError};

use crate::{
    limits::{MAX_PAGE_TIME, PAGE_TIME_CHECK_INTERVAL},
    turns::Turns,
    waiting::wait_at_most,
};

/// A runner takes this for a failure of the page, and tries half of it next.
#[derive(Debug, thiserror::Error)]
#[error("the handler worked on a page of {events} events for over {limit:?} while other writes waited for it")]
struct PageTooLong {
    events: usize,
    limit: Duration,
}

/// Waits for the handler of a page. If it takes longer than [`MAX_PAGE_TIME`] while others wait for the writer, it is
/// dropped. A page of one event cannot be made smaller, and takes as long as it takes.
///
/// # Errors
/// As of the handler; [`ProjectionError::Handler`] if it was dropped.
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
