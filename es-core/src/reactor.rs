//! Reactors: effects outside the database.

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

    /// Reacts to one event. An error is handled by the runner's failure policy; the event is never skipped.
    fn react(&self, event: &Recorded<Self::Event>) -> impl Future<Output = Result<(), HandlerError>> + Send;
}
