//! The place of an event in the log.

/// The place of an event in the log: 1, 2, 3 …, in the order of commits.
///
/// [`Position::ZERO`] is the place before the first event. On SQL stores positions have no gaps, so the lag of a
/// consumer is one subtraction.
///
/// ```
/// use es_core::Position;
/// let checkpoint = Position::new(40);
/// let head = Position::new(42);
/// assert_eq!(head.distance_from(checkpoint), 2);
/// assert!(Position::ZERO < checkpoint);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// The position before the first event. Reading after it reads from the beginning.
    pub const ZERO: Self = Self(0);

    /// Creates the position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the position `count` places later.
    #[must_use]
    pub const fn advanced_by(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// Returns the number of positions between `earlier` (exclusive) and this one (inclusive), or 0 if `earlier` is
    /// later.
    pub const fn distance_from(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
