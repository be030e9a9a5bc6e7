//! Why a subscription ends, or does not begin.

use std::sync::Arc;

use es_core::{DecodeError, Position, StoreError};

/// Why a subscription ends, or does not begin. Cloning is cheap: the monitor shows the same error that the stream gave.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// The log ends before the position that the subscription has come to, or is to go on after: the log was restored to an
    /// earlier state (a backup, a stale replica that was promoted), or the position is another store's. What was given out
    /// after `head` no longer exists. Decide what that means for the subscriber, then subscribe again after `head`.
    #[error(
        "the subscription is at position {position}, but the log ends at {head}: the log was restored to an earlier state, \
         or the position is another store's; subscribe again after a position that exists"
    )]
    PositionBeyondHead {
        /// Where the subscription is.
        position: Position,
        /// The last position of the log.
        head: Position,
    },
    /// The log holds another event at the position that the subscription has come to, or is to go on after: it went back to an
    /// earlier state and has grown since, or the bookmark is another store's. Events that were given out no longer exist. Decide
    /// what that means for the subscriber, then subscribe again after a position up to which the log is as it was.
    #[error(
        "the subscription has delivered events up to position {position} that the log no longer holds; subscribe again \
         after a position up to which the log is as it was"
    )]
    LogWentBack {
        /// Where the subscription is.
        position: Position,
        /// What was seen, and what is there now.
        source: Arc<StoreError>,
    },
    /// The store refused or failed; see [`StoreError`]. From a subscription that has begun it is never a
    /// [transient](StoreError::is_transient) one.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
    /// An event cannot be read as the domain event that was asked for; the error says which. Mend the code and subscribe again.
    #[error("{0}")]
    Decode(#[source] Arc<DecodeError>),
}

impl From<StoreError> for SubscriptionError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::LogWentBack { position, head: Some(head), .. } => Self::PositionBeyondHead { position, head },
            StoreError::LogWentBack { position, .. } => Self::LogWentBack { position, source: Arc::new(error) },
            error => Self::Store(Arc::new(error)),
        }
    }
}

impl From<DecodeError> for SubscriptionError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(Arc::new(error))
    }
}
