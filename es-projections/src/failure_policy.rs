//! What a consumer does when its handler fails.

use es_core::{DecodeError, Position, ProjectionError, StoreError};

use crate::{backoff::Backoff, limits};

/// What a consumer does when an event cannot be applied. No policy drops an event: either all later events wait, or all
/// later events of the same key.
///
/// The consumer first narrows a failing page down: the events before the failing one take effect, and the failing event
/// is tried alone. The policy counts the attempts at that one event.
///
/// A store that is busy or unreachable does not count as a failure of the handler. Neither does a failure that the
/// handler declares [transient](es_core::HandlerError::transient). [`Runner::run`](crate::Runner::run) waits for such
/// failures as long as necessary and shows the wait in the status; [`Runner::catch_up`](crate::Runner::catch_up) gives
/// up after the retries of this policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// Stops at the first failure.
    Stop,
    /// Tries again, and stops when the retries are used up.
    Retry {
        /// The number of retries, at most [`limits::MAX_RETRIES`].
        retries: u32,
        /// How long to wait before each retry.
        backoff: Backoff,
    },
    /// Tries again, and parks the key when the retries are used up: the event and all later events of its key are set
    /// aside in order, and the consumer continues with all other keys. See [`Runner::parked`](crate::Runner::parked)
    /// and [`Runner::retry_parked`](crate::Runner::retry_parked).
    ///
    /// The key is the document of a view, and the [partition key](es_core::Projection::partition_key) of a projection
    /// or reactor. The key of an event that cannot be read is its stream.
    RetryThenPark {
        /// The number of retries, at most [`limits::MAX_RETRIES`].
        retries: u32,
        /// How long to wait before each retry. All events wait during this time.
        backoff: Backoff,
        /// The maximum number of parked keys, at most [`limits::MAX_PARKED_KEYS`]. When it is reached, the next failure
        /// stops the consumer.
        limit: u64,
    },
}

impl FailurePolicy {
    /// Returns a policy that retries `retries` times with the default backoff and then stops.
    pub fn retry(retries: u32) -> Self {
        Self::Retry { retries, backoff: Backoff::default() }
    }

    /// Returns a policy that retries `retries` times with the default backoff and then parks the key. At most
    /// [`limits::DEFAULT_PARKED_KEYS`] keys are parked.
    pub fn park_after(retries: u32) -> Self {
        Self::RetryThenPark { retries, backoff: Backoff::default(), limit: limits::DEFAULT_PARKED_KEYS }
    }

    /// Returns the policy with another backoff. This has no effect on a policy without retries.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        match self {
            Self::Stop => self,
            Self::Retry { retries, .. } => Self::Retry { retries, backoff },
            Self::RetryThenPark { retries, limit, .. } => Self::RetryThenPark { retries, backoff, limit },
        }
    }

    /// Returns the policy with another limit of parked keys. This has no effect on a policy that does not park keys.
    #[must_use]
    pub fn with_limit(self, limit: u64) -> Self {
        match self {
            Self::RetryThenPark { retries, backoff, .. } => Self::RetryThenPark { retries, backoff, limit },
            other => other,
        }
    }

    /// Returns the maximum number of parked keys, or `None` if the policy does not park keys.
    pub(crate) fn parked_keys(&self) -> Option<u64> {
        match self {
            Self::RetryThenPark { limit, .. } => Some(*limit),
            _ => None,
        }
    }

    /// Returns the number of retries.
    pub(crate) fn retries(&self) -> u32 {
        match self {
            Self::Stop => 0,
            Self::Retry { retries, .. } | Self::RetryThenPark { retries, .. } => *retries,
        }
    }

    /// Returns the backoff between retries, which also applies to a store that does not answer.
    pub(crate) fn backoff(&self) -> Backoff {
        match self {
            Self::Stop => Backoff::default(),
            Self::Retry { backoff, .. } | Self::RetryThenPark { backoff, .. } => *backoff,
        }
    }
}

impl Default for FailurePolicy {
    /// Returns a policy with [`limits::DEFAULT_RETRIES`] retries and the default backoff.
    fn default() -> Self {
        Self::retry(limits::DEFAULT_RETRIES)
    }
}

/// Returns the position of the event that an error names.
pub(crate) fn event_of(error: &ProjectionError) -> Option<Position> {
    match error {
        ProjectionError::Handler { position, .. } => *position,
        ProjectionError::Decode(DecodeError::UnknownType { position, .. } | DecodeError::Payload { position, .. })
        | ProjectionError::Store(StoreError::Corrupt { position, .. }) => {
            Some(*position).filter(|&position| position > Position::ZERO)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use es_core::{BoxError, ConsumerName, ExecuteError, HandlerError, LoadError, is_transient};

    use super::*;

    fn busy() -> StoreError {
        StoreError::Busy { waiting_for: "a lock".to_owned(), source: None }
    }

    #[test]
    fn a_store_that_is_busy_is_found_behind_a_handlers_error_too() {
        let consumer = ConsumerName::new("mail").unwrap();
        assert!(is_transient(&ProjectionError::Store(busy())));
        assert!(is_transient(&ProjectionError::handler(&consumer, HandlerError::from(busy()))));
        let boxed: BoxError = Box::new(LoadError::Store(busy()));
        for error in [HandlerError::from(ExecuteError::<std::fmt::Error>::Store(busy())), HandlerError::from(boxed)] {
            assert!(is_transient(&ProjectionError::handler(&consumer, error)));
        }
        let other = || std::io::Error::other("no route");
        assert!(is_transient(&ProjectionError::handler(&consumer, HandlerError::transient(other()))));
        let other = other();
        assert!(!is_transient(&ProjectionError::handler(&consumer, HandlerError::from(other))));
        assert!(!is_transient(&ProjectionError::Store(StoreError::Refused { reason: "no" })));
    }
}
