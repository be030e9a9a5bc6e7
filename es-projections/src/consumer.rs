//! What the three kinds of consumers have in common: what a consumer loop holds.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use es_core::{
    Advance, ConsumerName, DecodeError, EventFilter, EventKey, EventPage, Generation, HandlerError, InvalidName,
    Position, ProjectionError, ReadModelDefinition, RecordedEvent,
};
use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use crate::{
    error::{HandlerPanic, HandlerTimeout},
    parking::keys_or_stream,
    partition_slice::PartitionSlice,
    status::ConsumerKind,
    stop::Stop,
};

/// A view, projection or reactor whose type is not known.
#[async_trait]
pub(crate) trait Consumer: Send + Sync {
    /// Its name, in its generation.
    fn name(&self) -> &ConsumerName;

    /// The same consumer in another generation; `None` if it has no others.
    ///
    /// # Errors
    /// [`InvalidName`] of a table.
    fn in_generation(&self, generation: Generation) -> Result<Option<Box<dyn Consumer>>, InvalidName>;

    /// How its read model is defined; `None` without one.
    fn definition(&self) -> Option<ReadModelDefinition>;

    fn kind(&self) -> ConsumerKind;

    fn filter(&self) -> &EventFilter;

    /// Checks that its events can be read.
    ///
    /// # Errors
    /// [`DecodeError::Misconfigured`].
    fn check(&self) -> Result<(), DecodeError>;

    /// Whether its code knows the type of an event that passes the filter.
    fn knows(&self, event: &RecordedEvent) -> bool;

    /// Makes room for the read model.
    async fn prepare(&self) -> Result<(), ProjectionError>;

    /// Applies a page, and moves the checkpoint.
    async fn apply(
        &self,
        advance: Advance,
        page: EventPage,
        slice: &PartitionSlice,
        stop: &Stop,
    ) -> Result<Applied, PageFailure>;

    /// The same consumer once more, in its generation.
    fn duplicate(&self) -> Option<Box<dyn Consumer>> {
        self.in_generation(self.name().generation().unwrap_or(Generation::FIRST)).ok().flatten()
    }

    /// The keys within which the order of an event counts: of a view its documents.
    ///
    /// # Errors
    /// [`ProjectionError::Decode`] for an event that cannot be read. The code of the consumer may panic.
    fn try_keys(&self, event: &RecordedEvent) -> Result<Vec<EventKey>, ProjectionError>;

    /// The same; the stream alone if that cannot be told.
    fn keys(&self, event: &RecordedEvent) -> Vec<EventKey> {
        keys_or_stream(event.stream(), || self.try_keys(event))
    }

    /// Those keys of an event for which it fails.
    async fn failing_keys(&self, event: &RecordedEvent) -> Result<Vec<EventKey>, ProjectionError> {
        let keys = self.keys(event);
        Ok(if keys.is_empty() { vec![EventKey::Stream(event.stream().clone())] } else { keys })
    }

    /// Applies an event that was parked, with a move that takes it out of the queue.
    async fn apply_parked(&self, advance: Advance, event: RecordedEvent) -> Result<(), ProjectionError> {
        let end = advance.to;
        let applied = self
            .apply(advance, EventPage::new(vec![event], end, end), &PartitionSlice::everything(), &Stop::never())
            .await;
        applied.map(|_| ()).map_err(|failure| failure.error)
    }

    /// For how long the last page that was applied held the store's transaction, if it did. Where the consumer cannot
    /// tell, waiting for the transaction counts too.
    fn held_for(&self) -> Option<Duration> {
        None
    }

    /// What is made once all history has been applied.
    async fn finish(&self) -> Result<(), ProjectionError> {
        Ok(())
    }

    /// Empties the read model and moves its checkpoint to the beginning, both or neither.
    async fn clear(&self) -> Result<(), ProjectionError>;
}

/// How long something took the last time.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch(AtomicU64);

impl Stopwatch {
    pub(crate) async fn time<T>(&self, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = work.await;
        self.0.store(start.elapsed().as_micros().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        result
    }

    pub(crate) fn last(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// What came of a page.
pub(crate) enum Applied {
    /// Everything up to here took effect, and the checkpoint says so. Usually the end of the page.
    UpTo(Position),
    /// The page needs too much memory; nothing took effect. Try fewer events.
    TooLarge,
}

/// Why a page, or the rest of it, did not take effect.
pub(crate) struct PageFailure {
    /// The event that failed, where events take effect one by one. Those before it took effect, and the checkpoint
    /// says so.
    pub(crate) alone: Option<Position>,
    pub(crate) error: ProjectionError,
}

impl<E: Into<ProjectionError>> From<E> for PageFailure {
    fn from(error: E) -> Self {
        Self { alone: None, error: error.into() }
    }
}

/// Waits for a handler; if it panics, that is its error. What it left half done is dropped with it.
pub(crate) async fn catch_panic<T, E>(
    consumer: &ConsumerName,
    handler: impl Future<Output = Result<T, E>>,
) -> Result<T, E>
where
    E: From<ProjectionError>,
{
    AssertUnwindSafe(handler).catch_unwind().await.unwrap_or_else(|payload| {
        let panic = HandlerError::from(HandlerPanic::new(payload.as_ref()));
        Err(ProjectionError::handler(consumer, panic).into())
    })
}

/// Waits for a handler that may take so long, unless `is_excused`; if it takes longer, it is dropped, and that is its error.
pub(crate) async fn within<T, E>(
    limit: Duration,
    consumer: &ConsumerName,
    handler: impl Future<Output = Result<T, E>>,
    is_excused: impl Fn() -> bool,
) -> Result<T, E>
where
    E: From<ProjectionError>,
{
    let mut handler = std::pin::pin!(catch_panic(consumer, handler));
    loop {
        match timeout(limit, &mut handler).await {
            Ok(result) => return result,
            Err(_) if is_excused() => {}
            Err(_) => {
                let error = HandlerError::from(HandlerTimeout { limit });
                return Err(ProjectionError::handler(consumer, error).into());
            }
        }
    }
}
