//! Reactors: effects outside the database.

use std::borrow::Cow;

use crate::{domain_event::EventSet, error::HandlerError, event::Recorded};

/// Does something elsewhere for each event: calls a service, sends a mail, executes a command.
///
/// Each event is given at least once, in order; after a crash, events since the last checkpoint are given again. Make
/// the effect repeatable by using the event's id as its key, and an ordinal where an upcaster splits events.
pub trait Reactor: Send + Sync + 'static {
    /// The events that it wants.
    type Event: EventSet;

    /// Names its checkpoint; see [`ConsumerName`](crate::ConsumerName).
    fn name(&self) -> &str;

    /// The key within which events must be given in order; the stream, unless it says otherwise. Events of other keys go on when
    /// one of them is parked. It must always be the same for an event.
    fn partition_key<'a>(&'a self, event: &'a Recorded<Self::Event>) -> Cow<'a, str> {
        event.stream().as_str().into()
    }

    /// Reacts to one event. An error is handled by the runner's failure policy; the event is never skipped.
    fn react(&self, event: &Recorded<Self::Event>) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// Most stored events that [`react_page`](Self::react_page) is given at once; 1, unless it says otherwise. The handler's time
    /// limit is for all of them together.
    fn page_size(&self) -> usize {
        1
    }

    /// Reacts to events in order. Override it, with [`page_size`](Self::page_size), where many effects cost little more than one.
    ///
    /// An error names the first event that did not take effect ([`HandlerError::at`], [`HandlerError::or_at`]): those before it are
    /// done, and it is given again with all that follow, whether they took effect or not. One that names none means the first.
    fn react_page(&self, events: &[Recorded<Self::Event>]) -> impl Future<Output = Result<(), HandlerError>> + Send {
        async move {
            for event in events {
                self.react(event).await.map_err(|error| error.or_at(event.position()))?;
            }
            Ok(())
        }
    }
}
