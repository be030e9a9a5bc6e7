//! What a decision can see of its command besides the command itself.

use time::OffsetDateTime;

/// What a decision can see of its command besides the command itself: see [`Aggregate::handle_at`](crate::Aggregate::handle_at).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandContext {
    occurred_at: Option<OffsetDateTime>,
}

impl CommandContext {
    /// A context that knows nothing: for tests, which call `handle_at` themselves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same for a command that occurred at a time.
    #[must_use]
    pub fn with_occurred_at(mut self, time: OffsetDateTime) -> Self {
        self.occurred_at = Some(time);
        self
    }

    /// When the command occurred, if the caller [said so](crate::Execute::occurred_at). No clock is read for it.
    pub fn occurred_at(&self) -> Option<OffsetDateTime> {
        self.occurred_at
    }
}
