//! How far the loop of a consumer goes.

use es_core::Position;

/// When a loop ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Until it has reached a position or there is nothing newer.
    Reach(Position),
    /// Empty the read model first, then the same.
    Rebuild(Position),
    /// Until it is asked to stop.
    Follow,
    /// Until the read model is empty.
    Clear,
}

impl Goal {
    /// Where the loop ends, if it does.
    pub(crate) fn end(self) -> Option<Position> {
        match self {
            Self::Reach(end) | Self::Rebuild(end) => Some(end),
            Self::Follow | Self::Clear => None,
        }
    }
}
