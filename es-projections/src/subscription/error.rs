//! The errors of a subscription.

use std::sync::Arc;

use es_core::{DecodeError, Position, StoreError};

/// The reason why a subscription ended or could not begin. Cloning is cheap: the monitor shows the same error that the
/// stream returned.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// The log ends before the position that the subscription has reached or is to start after. Either the log was
    /// restored to an earlier state (from a backup, or by promoting a stale replica), or the position belongs to
    /// another store. Events that were returned after `head` no longer exist. Decide what that means for the
    /// subscriber, and then subscribe again after `head`.
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
    /// The log holds another event at the position that the subscription has reached or is to start after. Either the
    /// log went back to an earlier state and has grown since, or the bookmark belongs to another store. Events that
    /// were returned no longer exist. Decide what that means for the subscriber, and then subscribe again after a
    /// position up to which the log is unchanged.
    #[error(
        "the subscription has delivered events up to position {position} that the log no longer holds; subscribe again \
         after a position up to which the log is as it was"
    )]
    LogWentBack {
        /// Where the subscription is.
        position: Position,
        /// What the subscription has seen, and what the log contains now.
        source: Arc<StoreError>,
    },
    /// The store refused a call or failed; see [`StoreError`]. A subscription that has begun never returns a
    /// [transient](StoreError::is_transient) error.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
    /// An event cannot be decoded as the requested domain event; the error names the event. Fix the code and subscribe
    /// again.
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
