//! Reactors: effects outside the database.

use std::borrow::Cow;

use crate::{domain_event::EventSet, error::HandlerError, event::Recorded};

/// A consumer with effects outside the database: it calls a service, sends mail, or executes a command for each event.
///
/// Each event is delivered at least once, in order. After a crash, events since the last checkpoint are delivered
/// again. Make the effect repeatable by using the event's ID as its key, together with the ordinal if an upcaster
/// splits events.
pub trait Reactor: Send + Sync + 'static {
    /// The events that the reactor receives.
    type Event: EventSet;

    /// Returns the name of the reactor's checkpoint. See [`ConsumerName`](crate::ConsumerName).
    fn name(&self) -> &str;

    /// Returns the key whose events must be delivered in order. The default is the stream. If an event is parked,
    /// events of other keys continue. The key of an event must never change.
    fn partition_key<'a>(&'a self, event: &'a Recorded<Self::Event>) -> Cow<'a, str> {
        event.stream().as_str().into()
    }

    /// Reacts to one event. The runner's failure policy handles an error; the event is never skipped.
    fn react(&self, event: &Recorded<Self::Event>) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// Returns the maximum number of stored events that [`react_page`](Self::react_page) receives at once. The default
    /// is 1. The handler's time limit applies to all of them together.
    fn page_size(&self) -> usize {
        1
    }

    /// Reacts to events in order. Override it, together with [`page_size`](Self::page_size), if many effects cost
    /// little more than one.
    ///
    /// An error names the first event that did not take effect ([`HandlerError::at`], [`HandlerError::or_at`]). The
    /// events before it are done. It is delivered again with all events that follow, whether or not those took effect.
    /// An error that names no event refers to the first one.
    fn react_page(&self, events: &[Recorded<Self::Event>]) -> impl Future<Output = Result<(), HandlerError>> + Send {
        async move {
            for event in events {
                self.react(event).await.map_err(|error| error.or_at(event.position()))?;
            }
            Ok(())
        }
    }
}
