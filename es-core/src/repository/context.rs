//! The information that a decision has about its command besides the command itself.

use time::OffsetDateTime;

/// The information that a decision has about its command besides the command itself. See
/// [`Aggregate::handle_at`](crate::Aggregate::handle_at).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandContext {
    occurred_at: Option<OffsetDateTime>,
}

impl CommandContext {
    /// Creates an empty context, for tests that call `handle_at` directly.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the context of a command that occurred at a time.
    #[must_use]
    pub fn with_occurred_at(mut self, time: OffsetDateTime) -> Self {
        self.occurred_at = Some(time);
        self
    }

    /// Returns when the command occurred, if the caller [specified it](crate::Execute::occurred_at). The framework
    /// reads no clock for it.
    pub fn occurred_at(&self) -> Option<OffsetDateTime> {
        self.occurred_at
    }
}
