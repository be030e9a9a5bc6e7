//! What came of a command.

use std::{fmt, ops::Deref, sync::Arc};

use crate::{
    aggregate::Aggregate, append::Appended, bookmark::Bookmark, event::Recorded, position::Position,
    stream_id::StreamId, version::Version,
};

/// What became of one aggregate.
#[non_exhaustive]
pub struct Outcome<A: Aggregate> {
    /// Its stream.
    pub stream: StreamId,
    /// Its state after the command.
    pub state: Arc<A>,
    /// Its version after the command.
    pub version: Version,
    /// The events that the command led to.
    pub events: Vec<Recorded<A::Event>>,
}

/// What came of a command. It dereferences to the [`Outcome`] of the first aggregate.
#[non_exhaustive]
pub struct Executed<A: Aggregate> {
    /// What became of the aggregate that [`execute`](crate::Repository::execute) named.
    pub outcome: Outcome<A>,
    /// What became of those added by [`and`](crate::Execute::and), in that order.
    pub others: Vec<Outcome<A>>,
    /// Where the events went; `None` if no aggregate had anything to record.
    pub appended: Option<Appended>,
}

/// Shows where things went, whatever the domain's own types can show.
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
    /// The position of the last event: a read model that has come this far shows the command's effect. `None` if
    /// nothing was recorded.
    pub fn position(&self) -> Option<Position> {
        self.appended.as_ref().map(|appended| appended.last_position)
    }

    /// The same with the id of that event, so that a lost command is not taken for another one's: pass it to `Runner::wait_for`.
    pub fn bookmark(&self) -> Option<Bookmark> {
        self.appended.as_ref().map(Appended::bookmark)
    }

    /// Whether the command had been executed before, under the same idempotency key: this is that outcome.
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
