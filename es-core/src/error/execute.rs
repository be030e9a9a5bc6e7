//! Errors of loading an aggregate and of executing a command.

use super::{BoxError, DecodeError, EncodeError, InvalidName, StoreError};
use crate::{expected_version::ExpectedVersion, stream_id::StreamId, version::Version};

/// The reason why an aggregate could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The store refused or failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An event could not be read.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// The stream has not reached the requested version.
    #[error("stream {stream} is at version {actual}; version {asked} does not exist yet")]
    VersionInFuture {
        /// The stream.
        stream: StreamId,
        /// The requested version.
        asked: Version,
        /// The version of the stream.
        actual: Version,
    },
}

impl From<InvalidName> for LoadError {
    fn from(error: InvalidName) -> Self {
        Self::Store(error.into())
    }
}

/// The reason why a command was not executed. `E` is the error type of the aggregate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError<E: std::error::Error + 'static> {
    /// The domain rejected the command. Nothing was stored.
    #[error("{0}")]
    Rejected(#[source] E),
    /// Another aggregate that takes part in the command rejected it. Nothing was stored.
    #[error("the command was refused by {stream}")]
    RejectedBy {
        /// The stream of the aggregate that rejected the command.
        stream: StreamId,
        /// The domain error of that aggregate.
        source: BoxError,
    },
    /// The store refused or failed; see [`StoreError`]. A `Conflict` here means that the retries are used up, or that
    /// the version in `expecting(..)` does not match.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An aggregate could not be loaded because an event could not be read.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// A decided event cannot be stored.
    #[error("{0}")]
    Encode(#[from] EncodeError),
}

impl<E: std::error::Error + 'static> ExecuteError<E> {
    /// Returns the domain's rejection, if this is one.
    pub fn rejection(&self) -> Option<&E> {
        match self {
            Self::Rejected(error) => Some(error),
            _ => None,
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> ExecuteError<E> {
    /// Converts the error for a command of another aggregate type. A rejection becomes a rejection by `stream`.
    pub(crate) fn by_participant<F: std::error::Error + 'static>(self, stream: &StreamId) -> ExecuteError<F> {
        match self {
            Self::Rejected(error) => ExecuteError::RejectedBy { stream: stream.clone(), source: Box::new(error) },
            Self::RejectedBy { stream, source } => ExecuteError::RejectedBy { stream, source },
            Self::Store(error) => ExecuteError::Store(error),
            Self::Decode(error) => ExecuteError::Decode(error),
            Self::Encode(error) => ExecuteError::Encode(error),
        }
    }
}

impl<E: std::error::Error + 'static> From<InvalidName> for ExecuteError<E> {
    fn from(error: InvalidName) -> Self {
        Self::Store(error.into())
    }
}

impl<E: std::error::Error + 'static> From<LoadError> for ExecuteError<E> {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(error) => Self::Store(error),
            LoadError::Decode(error) => Self::Decode(error),
            LoadError::VersionInFuture { stream, asked, actual } => {
                Self::Store(StoreError::Conflict { stream, expected: ExpectedVersion::Exact(asked), actual })
            }
        }
    }
}
