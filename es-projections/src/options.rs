//! The options of a consumer.

use std::time::Duration;

use es_core::{Bookmark, ConsumerName, PageSize, Partition, Position};

use crate::{error::RunnerError, failure_policy::FailurePolicy, limits, status::ConsumerKind};

/// Where a consumer or a [`Subscription`](crate::Subscription) begins. A consumer that has already applied events
/// continues from its checkpoint regardless of this option.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartFrom {
    /// At the first event of the log.
    #[default]
    Beginning,
    /// At the first event after a position, which must exist. A rebuild begins there too.
    After(Position),
    /// At the first event after a bookmark. The log must hold the event of the bookmark, so that a position of another
    /// log is detected, for example after a restore or in another store.
    AfterBookmark(Bookmark),
    /// At the first event after the consumer first runs or catches up. For a subscription: at the first event appended
    /// after the subscription was returned. A rebuild begins at the first event of the log, because the log does not
    /// record when the consumer first ran.
    Now,
}

/// What a consumer does with an event of an unknown type, written by newer code. This applies to categories of which
/// its enum claims to know [every type](es_core::Coverage::Whole).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownEventTypes {
    /// Stops before the event, and leaves the consumer to processes whose code knows the type. Until one of them has
    /// moved past the event, the status is [`WaitingForCode`](crate::ConsumerState::WaitingForCode).
    #[default]
    Suspend,
    /// Moves past the event. The newer code will not receive it. The status
    /// [counts](crate::ConsumerStatus::passed_over) such events.
    PassOver,
}

impl StartFrom {
    /// Returns the place after which to begin, if it is named.
    pub(crate) fn place(self) -> Option<Bookmark> {
        match self {
            Self::After(position) => Some(position.into()),
            Self::AfterBookmark(place) => Some(place),
            Self::Beginning | Self::Now => None,
        }
    }
}

/// The options of a consumer.
///
/// ```
/// use es_projections::{ConsumerOptions, FailurePolicy, StartFrom};
/// let options = ConsumerOptions::default().start_from(StartFrom::Now).on_failure(FailurePolicy::Stop);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsumerOptions {
    pub(crate) start_from: StartFrom,
    pub(crate) on_failure: FailurePolicy,
    page_size: Option<PageSize>,
    pub(crate) partitions: Option<u16>,
    handler_timeout: Option<Duration>,
    pub(crate) unknown_event_types: UnknownEventTypes,
    pub(crate) start_after: Option<&'static str>,
}

impl ConsumerOptions {
    /// Sets where the consumer begins if it has not applied any events yet; see [`StartFrom`].
    #[must_use]
    pub fn start_from(mut self, start_from: StartFrom) -> Self {
        self.start_from = start_from;
        self
    }

    /// Sets what the consumer does when an event cannot be applied. The default is [`FailurePolicy::default`].
    #[must_use]
    pub fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.on_failure = policy;
        self
    }

    /// Sets what the consumer does with an event whose type its code does not know. The default is
    /// [`UnknownEventTypes::Suspend`]. An enum that deliberately knows only some types of its category declares this
    /// with its [coverage](es_core::DomainEvent::COVERAGE) instead.
    #[must_use]
    pub fn unknown_event_types(mut self, policy: UnknownEventTypes) -> Self {
        self.unknown_event_types = policy;
        self
    }

    /// Sets the maximum number of events in one page, and therefore in one transaction. The default is
    /// [`limits::MOST_EVENTS_PER_PAGE`]. A smaller page holds locks for a shorter time; a larger page makes rebuilds
    /// faster. Below this maximum, the page size adapts to the consumer's speed: a page of a view or projection should
    /// not hold the store's transaction for longer than [`limits::TARGET_PAGE_TIME`].
    #[must_use]
    pub fn page_size(mut self, page_size: PageSize) -> Self {
        self.page_size = Some(page_size);
        self
    }

    /// Sets how long the handler may take for a page of events, or a reactor for one event. The default is
    /// [`limits::DEFAULT_HANDLER_TIMEOUT`]. A handler that takes longer is dropped and its transaction rolled back,
    /// which counts as a failure. If the store can measure it, time spent waiting for other transactions of the
    /// database does not count.
    #[must_use]
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = Some(timeout);
        self
    }

    /// Delays the start until another consumer of the same runner has caught up once.
    #[must_use]
    pub fn start_after(mut self, consumer: &'static str) -> Self {
        self.start_after = Some(consumer);
        self
    }

    pub(crate) fn time_limit(&self) -> Duration {
        self.handler_timeout.unwrap_or(limits::DEFAULT_HANDLER_TIMEOUT)
    }

    /// Returns how long a page may take. Reactors have a limit for each event instead.
    pub(crate) fn page_time_limit(&self, kind: ConsumerKind) -> Duration {
        if kind == ConsumerKind::Reactor { Duration::MAX } else { self.time_limit() }
    }

    /// Runs the consumer as `count` partitions, at most [`es_core::limits::MAX_PARTITIONS`], which several processes
    /// share. Events of one key stay in order; other events do not wait for each other. The key of a view is the
    /// document. Otherwise the key is the stream, unless
    /// [`Projection::partition_key`](es_core::Projection::partition_key) or
    /// [`Reactor::partition_key`](es_core::Reactor::partition_key) returns another one.
    ///
    /// The number takes effect when a runner first runs the consumer. No event is lost or repeated when the number
    /// changes. Without this option, the consumer keeps its current partitions, initially one; see
    /// [`Runner::repartition`](crate::Runner::repartition).
    #[must_use]
    pub fn partitions(mut self, count: u16) -> Self {
        self.partitions = Some(count);
        self
    }

    pub(crate) fn largest_page(&self) -> usize {
        self.page_size.map_or(limits::MOST_EVENTS_PER_PAGE, PageSize::get)
    }

    pub(crate) fn check(&self, consumer: &ConsumerName) -> Result<(), RunnerError> {
        if let Some(count) = self.partitions {
            Partition::new(0, count)?;
        }
        let retries = self.on_failure.retries();
        if retries > limits::MAX_RETRIES {
            return Err(RunnerError::TooManyRetries {
                consumer: consumer.clone(),
                retries,
                limit: limits::MAX_RETRIES,
            });
        }
        if let Some(asked) = self.on_failure.parked_keys().filter(|&asked| asked > limits::MAX_PARKED_KEYS) {
            let limit = limits::MAX_PARKED_KEYS;
            return Err(RunnerError::TooManyParkedKeys { consumer: consumer.clone(), asked, limit });
        }
        Ok(())
    }
}
