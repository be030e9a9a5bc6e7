//! The common interface of the three kinds of consumers, as a consumer loop uses it.

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

/// A view, projection, or reactor with its type erased.
#[async_trait]
pub(crate) trait Consumer: Send + Sync {
    /// Returns the name of the consumer in its generation.
    fn name(&self) -> &ConsumerName;

    /// Returns the same consumer in another generation, or `None` if it supports only one.
    ///
    /// # Errors
    /// Returns [`InvalidName`] for an invalid table name.
    fn in_generation(&self, generation: Generation) -> Result<Option<Box<dyn Consumer>>, InvalidName>;

    /// Returns the definition of its read model, or `None` if it has none.
    fn definition(&self) -> Option<ReadModelDefinition>;

    fn kind(&self) -> ConsumerKind;

    fn filter(&self) -> &EventFilter;

    /// Checks that the consumer's events can be read.
    ///
    /// # Errors
    /// Returns [`DecodeError::Misconfigured`] if they cannot be read.
    fn check(&self) -> Result<(), DecodeError>;

    /// Returns whether the consumer's code knows the type of an event that passes the filter.
    fn knows(&self, event: &RecordedEvent) -> bool;

    /// Creates the storage of the read model.
    async fn prepare(&self) -> Result<(), ProjectionError>;

    /// Applies a page and moves the checkpoint.
    async fn apply(
        &self,
        advance: Advance,
        page: EventPage,
        slice: &PartitionSlice,
        stop: &Stop,
    ) -> Result<Applied, PageFailure>;

    /// Returns another instance of the consumer in the same generation.
    fn duplicate(&self) -> Option<Box<dyn Consumer>> {
        self.in_generation(self.name().generation().unwrap_or(Generation::FIRST)).ok().flatten()
    }

    /// Returns the keys within which the order of an event matters. For a view, these are its documents.
    ///
    /// # Errors
    /// Returns [`ProjectionError::Decode`] for an event that cannot be read. The consumer's code may panic.
    fn try_keys(&self, event: &RecordedEvent) -> Result<Vec<EventKey>, ProjectionError>;

    /// Like [`try_keys`](Self::try_keys), but returns only the stream if the keys cannot be determined.
    fn keys(&self, event: &RecordedEvent) -> Vec<EventKey> {
        keys_or_stream(event.stream(), || self.try_keys(event))
    }

    /// Returns the keys of an event for which it fails.
    async fn failing_keys(&self, event: &RecordedEvent) -> Result<Vec<EventKey>, ProjectionError> {
        let keys = self.keys(event);
        Ok(if keys.is_empty() { vec![EventKey::Stream(event.stream().clone())] } else { keys })
    }

    /// Applies a parked event; `advance` removes it from the queue.
    async fn apply_parked(&self, advance: Advance, event: RecordedEvent) -> Result<(), ProjectionError> {
        let end = advance.to;
        let applied = self
            .apply(advance, EventPage::new(vec![event], end, end), &PartitionSlice::everything(), &Stop::never())
            .await;
        applied.map(|_| ()).map_err(|failure| failure.error)
    }

    /// Returns how long the last applied page held the store's transaction, if it did. If the consumer cannot measure
    /// it, the time includes waiting for the transaction.
    fn held_for(&self) -> Option<Duration> {
        None
    }

    /// Creates what is created once after the whole history has been applied.
    async fn finish(&self) -> Result<(), ProjectionError> {
        Ok(())
    }

    /// Empties the read model and moves its checkpoint to the beginning, atomically.
    async fn clear(&self) -> Result<(), ProjectionError>;
}

/// The duration of the last run of an operation.
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

/// The result of applying a page.
pub(crate) enum Applied {
    /// All events up to this position took effect, and the checkpoint is there. Usually this is the end of the page.
    UpTo(Position),
    /// The page needs too much memory, and nothing took effect. Try fewer events.
    TooLarge,
}

/// The reason why a page, or the rest of it, did not take effect.
pub(crate) struct PageFailure {
    /// The event that failed, if events take effect one by one. The events before it took effect, and the checkpoint is
    /// after them.
    pub(crate) alone: Option<Position>,
    pub(crate) error: ProjectionError,
}

impl<E: Into<ProjectionError>> From<E> for PageFailure {
    fn from(error: E) -> Self {
        Self { alone: None, error: error.into() }
    }
}

/// Waits for a handler and converts a panic into an error. Unfinished work of the handler is dropped.
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

/// Waits for a handler for at most `limit`, unless `is_excused` returns true. A handler that takes longer is dropped,
/// which counts as its error.
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
