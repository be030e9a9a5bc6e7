//! Errors of handlers: projections, views, reactors.

use std::any::Any;

use super::{BoxError, DecodeError, EncodeError, InvalidName, StoreError};
use crate::{consumer_name::ConsumerName, position::Position};

/// The error of a projection's, reactor's or message handler's own code: made by `?` from any error, from a boxed one,
/// and from whatever turns into a boxed one, as `anyhow::Error` does.
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
/// A failure of the store among its causes is found ([`is_transient`](crate::is_transient)): the consumer waits for the
/// store, and the event is not blamed. It does not implement [`std::error::Error`] itself, so that every error converts
/// into it.
#[derive(Debug)]
pub struct HandlerError {
    position: Option<Position>,
    source: BoxError,
}

impl HandlerError {
    /// An error that belongs to the event at a position. Handlers of whole pages use it to name the event.
    pub fn at(position: Position, source: impl Into<BoxError>) -> Self {
        Self { position: Some(position), source: source.into() }
    }

    /// A failure that will pass without anybody's help: a service that does not answer, a rate limit. The runner waits and
    /// tries the event again for as long as it takes, and says so in the status, instead of counting it as a failure
    /// of the event and stopping in the end.
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

    /// The event's position, if it is known.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Names the event, unless one is named already.
    #[must_use]
    pub fn or_at(mut self, position: Position) -> Self {
        self.position.get_or_insert(position);
        self
    }

    /// The error itself.
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

/// What [`HandlerError::transient`] wraps an error in; runners look for it among the causes of a failure.
#[derive(Debug, thiserror::Error)]
#[error("a failure that will pass")]
pub struct TransientFailure {
    source: BoxError,
}

impl<E: Into<BoxError> + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let mut error = Some(error);
        // By `into`, the error within could not be found among the causes.
        let anyhow = (&mut error as &mut dyn Any).downcast_mut().and_then(Option::<anyhow::Error>::take);
        let source = match (anyhow, error) {
            (Some(anyhow), _) => anyhow.reallocate_into_boxed_dyn_error_without_backtrace(),
            (None, Some(error)) => error.into(),
            (None, None) => "an error without a text".into(),
        };
        Self { position: None, source }
    }
}

/// Why a projection, view or reactor did not advance. Its checkpoint and its read model are as before.
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
        /// Whose handler.
        consumer: ConsumerName,
        /// The event, if the handler said which.
        position: Option<Position>,
        /// The handler's error.
        source: BoxError,
    },
    /// A view's changed document cannot be stored.
    #[error("the document {key:?} of the view {view} cannot be written")]
    Document {
        /// The view.
        view: ConsumerName,
        /// The document's key.
        key: String,
        /// What is wrong with it.
        source: EncodeError,
    },
}

impl ProjectionError {
    /// Tells whose code failed on which event.
    pub fn handler(consumer: &ConsumerName, error: HandlerError) -> Self {
        Self::Handler { consumer: consumer.clone(), position: error.position, source: error.source }
    }
}

impl From<InvalidName> for ProjectionError {
    fn from(error: InvalidName) -> Self {
        Self::Store(error.into())
    }
}
