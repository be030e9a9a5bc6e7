//! How far the loop of a consumer runs.

use es_core::Position;

/// When a loop ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// When it has reached a position or there are no newer events.
    Reach(Position),
    /// Like `Reach`, after emptying the read model first.
    Rebuild(Position),
    /// When it is asked to stop.
    Follow,
    /// When the read model is empty.
    Clear,
}

impl Goal {
    /// Returns the position where the loop ends, if there is one.
    pub(crate) fn end(self) -> Option<Position> {
        match self {
            Self::Reach(end) | Self::Rebuild(end) => Some(end),
            Self::Follow | Self::Clear => None,
        }
    }
}
