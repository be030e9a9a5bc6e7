//! How one consumer is run.

use std::time::Duration;

use es_core::{Bookmark, ConsumerName, PageSize, Partition, Position};

use crate::{error::RunnerError, failure_policy::FailurePolicy, limits, status::ConsumerKind};

/// Where a consumer begins that has applied nothing yet. One that has goes on from its checkpoint, whatever this says.
/// Also where a [`Subscription`](crate::Subscription) begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartFrom {
    /// With the first event of the log.
    #[default]
    Beginning,
    /// With the first event after a position, which must exist. A rebuild begins there too.
    After(Position),
    /// The same with the event that must be there, so that the position is not taken for one of another log: after a restore, or
    /// in another store.
    AfterBookmark(Bookmark),
    /// With the first event after the consumer is first run or caught up; of a subscription, with the first one that is
    /// appended after it was returned. A rebuild begins with the first event of
    /// the log, since the log does not say when that was.
    Now,
}

/// What a consumer does when it meets an event whose type its code does not know, in a category of which its enum is to
/// know [every type](es_core::Coverage::Whole): newer code wrote it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownEventTypes {
    /// It does not move past the event, and leaves the consumer to processes whose code knows the type. Until one of them
    /// has moved past the event, the status says [`WaitingForCode`](crate::ConsumerState::WaitingForCode).
    #[default]
    Suspend,
    /// It moves past the event. The newer code will not receive it. The status
    /// [counts](crate::ConsumerStatus::passed_over) such events.
    PassOver,
}

impl StartFrom {
    /// The place after which it begins, if that is named.
    pub(crate) fn place(self) -> Option<Bookmark> {
        match self {
            Self::After(position) => Some(position.into()),
            Self::AfterBookmark(place) => Some(place),
            Self::Beginning | Self::Now => None,
        }
    }
}

/// How one consumer is run.
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
    /// Where it begins if it has applied nothing yet; otherwise, and by default, see [`StartFrom`].
    #[must_use]
    pub fn start_from(mut self, start_from: StartFrom) -> Self {
        self.start_from = start_from;
        self
    }

    /// What it does when an event cannot be applied; [`FailurePolicy::default`] if not said.
    #[must_use]
    pub fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.on_failure = policy;
        self
    }

    /// What it does when it meets an event whose type its code does not know; [`UnknownEventTypes::Suspend`] if not said.
    /// An enum that knows only some types of its category on purpose says so by its
    /// [coverage](es_core::DomainEvent::COVERAGE) instead.
    #[must_use]
    pub fn unknown_event_types(mut self, policy: UnknownEventTypes) -> Self {
        self.unknown_event_types = policy;
        self
    }

    /// Most events in one page, and so in one transaction; [`limits::MOST_EVENTS_PER_PAGE`] if not said. A smaller page
    /// holds locks for a shorter time, a larger one rebuilds faster. The size adapts to the consumer's speed below
    /// that: a page of a view or projection should not hold the store's transaction for longer than
    /// [`limits::TARGET_PAGE_TIME`].
    #[must_use]
    pub fn page_size(mut self, page_size: PageSize) -> Self {
        self.page_size = Some(page_size);
        self
    }

    /// How long the handler may take for a page of events, of a reactor for one event;
    /// [`limits::DEFAULT_HANDLER_TIMEOUT`] if not said. One that takes longer is dropped, and its transaction rolled back: a
    /// failure like any other. The time for which it waits for somebody else in the database does not count, where the
    /// store can tell.
    #[must_use]
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = Some(timeout);
        self
    }

    /// Starts only when another consumer of the same runner has caught up once.
    #[must_use]
    pub fn start_after(mut self, consumer: &'static str) -> Self {
        self.start_after = Some(consumer);
        self
    }

    pub(crate) fn time_limit(&self) -> Duration {
        self.handler_timeout.unwrap_or(limits::DEFAULT_HANDLER_TIMEOUT)
    }

    /// How long a page may take; of a reactor each event has its time.
    pub(crate) fn page_time_limit(&self, kind: ConsumerKind) -> Duration {
        if kind == ConsumerKind::Reactor { Duration::MAX } else { self.time_limit() }
    }

    /// Runs it as so many partitions, at most [`es_core::limits::MAX_PARTITIONS`], which several processes share: events of one key stay
    /// in order, others do not wait for each other. The key is the stream unless
    /// [`Projection::partition_key`](es_core::Projection::partition_key) or
    /// [`Reactor::partition_key`](es_core::Reactor::partition_key) says otherwise, and of a view the document.
    ///
    /// The number is seen to when a runner first runs the consumer: no event is lost or repeated when it changes.
    /// Without it, the consumer keeps the partitions that it has, one at first; see
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
