//! What a consumer does when its handler fails.

use es_core::{DecodeError, Position, ProjectionError, StoreError};

use crate::{backoff::Backoff, limits};

/// What a consumer does when an event cannot be applied. No policy drops an event: what comes after it waits, or what comes after it
/// of the same key.
///
/// A failing page is narrowed down first: the events before the failing one take effect, and the failing one is tried
/// alone. The policy counts attempts at that one event.
///
/// A store that is busy or cannot be reached is no failure of the handler, and neither is what the handler calls
/// [transient](es_core::HandlerError::transient): [`Runner::run`](crate::Runner::run) waits
/// for it as long as it takes and says so in the status; [`Runner::catch_up`](crate::Runner::catch_up) gives up by this
/// policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// Stop at the first failure.
    Stop,
    /// Try again, and stop when the retries are used up.
    Retry {
        /// How often to try again; at most [`limits::MAX_RETRIES`].
        retries: u32,
        /// How long to wait before each retry.
        backoff: Backoff,
    },
    /// Try again, and when the retries are used up, park the key: the event and all later ones of its key are put aside in order,
    /// and everything else goes on. See [`Runner::parked`](crate::Runner::parked) and
    /// [`Runner::retry_parked`](crate::Runner::retry_parked).
    ///
    /// The key is the document of a view, and the [partition key](es_core::Projection::partition_key) of a projection or reactor.
    /// An event that cannot be read has no key but its stream.
    RetryThenPark {
        /// How often to try again; at most [`limits::MAX_RETRIES`].
        retries: u32,
        /// How long to wait before each retry. Everything waits meanwhile.
        backoff: Backoff,
        /// With so many keys parked, the next failure stops the consumer; at most [`limits::MAX_PARKED_KEYS`].
        limit: u64,
    },
}

impl FailurePolicy {
    /// So many retries with the default waits.
    pub fn retry(retries: u32) -> Self {
        Self::Retry { retries, backoff: Backoff::default() }
    }

    /// So many retries with the default waits, and then the key is parked; at most [`limits::DEFAULT_PARKED_KEYS`] keys.
    pub fn park_after(retries: u32) -> Self {
        Self::RetryThenPark { retries, backoff: Backoff::default(), limit: limits::DEFAULT_PARKED_KEYS }
    }

    /// The same with other waits between retries. Of no effect without retries.
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        match self {
            Self::Stop => self,
            Self::Retry { retries, .. } => Self::Retry { retries, backoff },
            Self::RetryThenPark { retries, limit, .. } => Self::RetryThenPark { retries, backoff, limit },
        }
    }

    /// The same with another limit of parked keys. Of no effect if keys are not parked.
    #[must_use]
    pub fn with_limit(self, limit: u64) -> Self {
        match self {
            Self::RetryThenPark { retries, backoff, .. } => Self::RetryThenPark { retries, backoff, limit },
            other => other,
        }
    }

    /// Most keys that may be parked; `None` if keys are not parked.
    pub(crate) fn parked_keys(&self) -> Option<u64> {
        match self {
            Self::RetryThenPark { limit, .. } => Some(*limit),
            _ => None,
        }
    }

    /// How often to try again.
    pub(crate) fn retries(&self) -> u32 {
        match self {
            Self::Stop => 0,
            Self::Retry { retries, .. } | Self::RetryThenPark { retries, .. } => *retries,
        }
    }

    /// How long to wait before each retry, and for a store that does not answer.
    pub(crate) fn backoff(&self) -> Backoff {
        match self {
            Self::Stop => Backoff::default(),
            Self::Retry { backoff, .. } | Self::RetryThenPark { backoff, .. } => *backoff,
        }
    }
}

impl Default for FailurePolicy {
    /// [`limits::DEFAULT_RETRIES`] retries with the default waits.
    fn default() -> Self {
        Self::retry(limits::DEFAULT_RETRIES)
    }
}

/// The event that an error names.
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
