//! The handlers with which an application processes messages.

use std::{marker::PhantomData, pin::Pin};

use es_core::{DeadReason, HandlerError, MessageUnit, StoreError, causes, is_transient};
use serde::de::DeserializeOwned;

use crate::{
    causes::{json_words, with_causes},
    message::Message,
};

/// Handles messages of a type, within a transaction of the store. `U` is the store's
/// [`InboxStore::Unit`](es_core::InboxStore::Unit).
///
/// Everything that a handler writes through [`connection`](MessageUnit::connection), appends, and enqueues takes effect
/// once for each message, together with the record that the message was handled. A handler may be called more than
/// once; its earlier writes are then rolled back. It should therefore have no effects outside the transaction, unless
/// they are idempotent.
///
/// An error counts as a failure of the message, unless it is [transient](HandlerError::transient). Return
/// [`Unacceptable`] for a failure that no retry can resolve.
pub trait MessageHandler<U: MessageUnit>: Send + Sync + 'static {
    /// Handles one message.
    fn handle(&self, message: &Message, unit: &mut U) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// The return type of a closure that handles messages: `Box::pin(async move { .. })`.
pub type Handling<'a> = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

/// The error for a message that its handler will never accept. The message becomes a dead letter immediately, without
/// retries.
///
/// ```
/// use es_core::{DeadReason, HandlerError};
/// use es_messaging::Unacceptable;
/// fn check(cents: i64) -> Result<(), HandlerError> {
///     if cents < 0 {
///         return Err(Unacceptable::new(DeadReason::Schema, "an amount below zero").into());
///     }
///     Ok(())
/// }
/// # assert!(check(-1).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unacceptable {
    reason: DeadReason,
    why: String,
}

impl Unacceptable {
    /// Returns an error with the reason and a description.
    pub fn new(reason: DeadReason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }
}

/// A handler with its type erased.
pub(crate) trait AnyHandler<U>: Send + Sync {
    fn handle<'a>(&'a self, message: &'a Message, unit: &'a mut U) -> Handling<'a>;
}

/// A [`MessageHandler`] as an [`AnyHandler`].
pub(crate) struct ByTrait<H>(pub(crate) H);

impl<U: MessageUnit, H: MessageHandler<U>> AnyHandler<U> for ByTrait<H> {
    fn handle<'a>(&'a self, message: &'a Message, unit: &'a mut U) -> Handling<'a> {
        Box::pin(self.0.handle(message, unit))
    }
}

/// A closure that receives the decoded content.
pub(crate) struct ByContent<T, F> {
    handle: F,
    content: PhantomData<fn() -> T>,
}

impl<T, F> ByContent<T, F> {
    pub(crate) fn new(handle: F) -> Self {
        Self { handle, content: PhantomData }
    }
}

impl<U, T, F> AnyHandler<U> for ByContent<T, F>
where
    U: MessageUnit,
    T: DeserializeOwned,
    F: for<'a> Fn(T, &'a Message, &'a mut U) -> Handling<'a> + Send + Sync,
{
    fn handle<'a>(&'a self, message: &'a Message, unit: &'a mut U) -> Handling<'a> {
        match message.json::<T>() {
            Ok(content) => (self.handle)(content, message, unit),
            Err(error) => {
                let expected = std::any::type_name::<T>();
                let why = match message.data() {
                    [] if message.has_data() => format!("its content is empty, expected {expected}"),
                    [] => format!("it has no content, expected {expected}"),
                    _ => format!("its content is not {expected}: {}", json_words(&error)),
                };
                Box::pin(std::future::ready(Err(Unacceptable::new(DeadReason::Schema, why).into())))
            }
        }
    }
}

/// The failure of a message in a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A transient failure that is not caused by the message.
    Transient(String),
    /// A failed attempt.
    Failed(String),
    /// A failed attempt, possibly because the messages of the transaction are too many together.
    TooMuch(String),
    /// A failure for which further attempts are useless.
    Never(DeadReason, String),
}

impl Failure {
    /// Classifies an error.
    pub(crate) fn of(error: HandlerError) -> Self {
        let error = error.into_source();
        let text = with_causes(&*error);
        if let Some(unacceptable) = causes(&*error).find_map(|cause| cause.downcast_ref::<Unacceptable>()) {
            return Self::Never(unacceptable.reason, text);
        }
        if is_transient(&*error) {
            return Self::Transient(text);
        }
        match causes(&*error).find_map(|cause| cause.downcast_ref::<StoreError>()) {
            Some(StoreError::LimitExceeded { .. }) => Self::TooMuch(text),
            _ => Self::Failed(text),
        }
    }

    /// Returns the error text.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Transient(text) | Self::Failed(text) | Self::TooMuch(text) | Self::Never(_, text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_apart_by_its_causes() {
        let other = || std::io::Error::other("no answer");
        assert_eq!(Failure::of(other().into()), Failure::Failed("no answer".to_owned()));
        assert!(
            matches!(Failure::of(HandlerError::transient(other())), Failure::Transient(text) if text.contains("no answer"))
        );
        let away = StoreError::Unavailable { source: Box::new(other()) };
        assert!(matches!(Failure::of(away.into()), Failure::Transient(_)));
        let busy = || StoreError::Busy { waiting_for: "a lock".to_owned(), source: None };
        let command = es_core::ExecuteError::<std::fmt::Error>::Store(busy());
        assert!(matches!(Failure::of(command.into()), Failure::Transient(_)));
        let boxed: es_core::BoxError = Box::new(crate::EnqueueError::Store(busy()));
        assert!(matches!(Failure::of(boxed.into()), Failure::Transient(_)));
        let large = StoreError::LimitExceeded { what: "bytes", limit: 1, actual: 2 };
        assert!(matches!(Failure::of(crate::EnqueueError::Store(large).into()), Failure::TooMuch(_)));
        let never = Unacceptable::new(DeadReason::Schema, "no");
        assert_eq!(Failure::of(never.into()), Failure::Never(DeadReason::Schema, "no".to_owned()));
    }
}
