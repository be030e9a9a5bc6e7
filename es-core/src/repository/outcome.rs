//! The outcome of a command.

use std::{fmt, ops::Deref, sync::Arc};

use crate::{
    aggregate::Aggregate, append::Appended, bookmark::Bookmark, event::Recorded, position::Position,
    stream_id::StreamId, version::Version,
};

/// The outcome of a command for one aggregate.
#[non_exhaustive]
pub struct Outcome<A: Aggregate> {
    /// The stream of the aggregate.
    pub stream: StreamId,
    /// The state after the command.
    pub state: Arc<A>,
    /// The version after the command.
    pub version: Version,
    /// The events that the command resulted in.
    pub events: Vec<Recorded<A::Event>>,
}

/// The outcome of a command. It dereferences to the [`Outcome`] of the first aggregate.
#[non_exhaustive]
pub struct Executed<A: Aggregate> {
    /// The outcome for the aggregate that [`execute`](crate::Repository::execute) named.
    pub outcome: Outcome<A>,
    /// The outcomes for the aggregates that [`and`](crate::Execute::and) added, in that order.
    pub others: Vec<Outcome<A>>,
    /// The outcome of the append, or `None` if no aggregate had anything to record.
    pub appended: Option<Appended>,
}

/// Shows the place of each outcome, so that the domain's types do not need to implement `Debug`.
impl<A: Aggregate> fmt::Debug for Outcome<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events: Vec<_> = self.events.iter().map(Recorded::envelope).collect();
        f.debug_struct("Outcome")
            .field("stream", &self.stream)
            .field("version", &self.version)
            .field("events", &events)
            .finish()
    }
}

impl<A: Aggregate> fmt::Debug for Executed<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executed")
            .field("outcome", &self.outcome)
            .field("others", &self.others)
            .field("appended", &self.appended)
            .finish()
    }
}

impl<A: Aggregate> Executed<A> {
    /// Returns the position of the last event. A read model that has reached this position shows the effect of the
    /// command. Returns `None` if nothing was recorded.
    pub fn position(&self) -> Option<Position> {
        self.appended.as_ref().map(|appended| appended.last_position)
    }

    /// Returns the bookmark of the last event: its position and its ID. Pass it to `Runner::wait_for`, which then
    /// detects that the command was lost and that another event has taken the position.
    pub fn bookmark(&self) -> Option<Bookmark> {
        self.appended.as_ref().map(Appended::bookmark)
    }

    /// Returns whether the command had been executed before under the same idempotency key. If so, this is the outcome
    /// of that execution.
    pub fn is_repeated(&self) -> bool {
        self.appended.as_ref().is_some_and(|appended| appended.repeated)
    }
}

impl<A: Aggregate> Deref for Executed<A> {
    type Target = Outcome<A>;
    fn deref(&self) -> &Outcome<A> {
        &self.outcome
    }
}
