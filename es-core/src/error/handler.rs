//! Errors of handlers: projections, views, and reactors.

use std::any::Any;

use super::{BoxError, DecodeError, EncodeError, InvalidName, StoreError};
use crate::{consumer_name::ConsumerName, position::Position};

/// The error of the code of a projection, reactor, or message handler. The operator `?` creates it from any error, from
/// a boxed one, and from any type that converts to a boxed one, such as `anyhow::Error`.
///
/// ```
/// use es_core::{BoxError, HandlerError};
/// fn look_up() -> Result<(), BoxError> { Ok(()) }
/// fn send() -> Result<(), std::io::Error> { Ok(()) }
/// fn react() -> Result<(), HandlerError> {
///     look_up()?;
///     send()?;
///     Ok(())
/// }
/// # assert!(react().is_ok());
/// ```
///
/// If a cause is a failure of the store, it is found ([`is_transient`](crate::is_transient)): the consumer waits for
/// the store, and the failure does not count against the event. This type does not implement [`std::error::Error`], so
/// that every error converts into it.
#[derive(Debug)]
pub struct HandlerError {
    position: Option<Position>,
    source: BoxError,
}

impl HandlerError {
    /// Creates an error for the event at a position. Handlers of whole pages use it to name the event.
    pub fn at(position: Position, source: impl Into<BoxError>) -> Self {
        Self { position: Some(position), source: source.into() }
    }

    /// Creates an error for a failure that is expected to pass, such as an unavailable service or a rate limit. The
    /// runner waits, retries the event for as long as necessary, and shows this in its status. It does not count the
    /// failure against the event, and does not stop.
    ///
    /// ```
    /// # use es_core::HandlerError;
    /// # fn send() -> Result<(), std::io::Error> { Ok(()) }
    /// fn react() -> Result<(), HandlerError> {
    ///     send().map_err(HandlerError::transient)
    /// }
    /// # assert!(react().is_ok());
    /// ```
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self { position: None, source: Box::new(TransientFailure { source: source.into() }) }
    }

    /// Returns the position of the event, if it is known.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Sets the position of the event, unless it is already set.
    #[must_use]
    pub fn or_at(mut self, position: Position) -> Self {
        self.position.get_or_insert(position);
        self
    }

    /// Returns the wrapped error.
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

/// The wrapper that [`HandlerError::transient`] creates. Runners look for it among the causes of a failure.
#[derive(Debug, thiserror::Error)]
#[error("a failure that will pass")]
pub struct TransientFailure {
    source: BoxError,
}

impl<E: Into<BoxError> + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let mut error = Some(error);
        // With `into`, the inner error could not be found among the causes.
        let anyhow = (&mut error as &mut dyn Any).downcast_mut().and_then(Option::<anyhow::Error>::take);
        let source = match (anyhow, error) {
            (Some(anyhow), _) => anyhow.reallocate_into_boxed_dyn_error_without_backtrace(),
            (None, Some(error)) => error.into(),
            (None, None) => "an error without a text".into(),
        };
        Self { position: None, source }
    }
}

/// The reason why a projection, view, or reactor did not advance. Its checkpoint and its read model have not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// The store refused or failed; see [`StoreError`].
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An event or document could not be read.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// The handler's own code failed.
    #[error("{consumer} failed on the event at position {}", position.map_or_else(|| "(unknown)".to_owned(), |p| p.to_string()))]
    Handler {
        /// The consumer whose handler failed.
        consumer: ConsumerName,
        /// The position of the event, if the handler reported it.
        position: Option<Position>,
        /// The handler's error.
        source: BoxError,
    },
    /// A changed document of a view cannot be stored.
    #[error("the document {key:?} of the view {view} cannot be written")]
    Document {
        /// The view.
        view: ConsumerName,
        /// The key of the document.
        key: String,
        /// The problem.
        source: EncodeError,
    },
}

impl ProjectionError {
    /// Creates the error of a consumer's handler.
    pub fn handler(consumer: &ConsumerName, error: HandlerError) -> Self {
        Self::Handler { consumer: consumer.clone(), position: error.position, source: error.source }
    }
}

impl From<InvalidName> for ProjectionError {
    fn from(error: InvalidName) -> Self {
        Self::Store(error.into())
    }
}
