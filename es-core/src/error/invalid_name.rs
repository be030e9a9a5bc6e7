//! Names that cannot be used.

/// A name, key, or other short text that cannot be used. Fix the caller. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} {problem}")]
pub struct InvalidName {
    what: &'static str,
    name: String,
    problem: NameProblem,
}

impl InvalidName {
    /// Number of characters of the invalid text that an error shows.
    const SHOWN_CHARS: usize = 80;

    pub(crate) fn new(what: &'static str, text: &str, problem: NameProblem) -> Self {
        let mut name: String = text.chars().take(Self::SHOWN_CHARS).collect();
        if name.len() < text.len() {
            name.push('…');
        }
        Self { what, name, problem }
    }

    /// Returns the kind of name, such as "category", "event type", or "idempotency key".
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Returns the problem.
    pub fn problem(&self) -> &NameProblem {
        &self.problem
    }
}

/// The problem with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// The text is empty.
    #[error("is empty: give it at least one character")]
    Empty,
    /// The text is longer than its limit.
    #[error("has {bytes} bytes, the limit is {max_bytes}: shorten it")]
    TooLong {
        /// The length in bytes.
        bytes: usize,
        /// The limit, from [`limits`](crate::limits).
        max_bytes: usize,
    },
    /// The text contains a NUL, a line break, or another control character.
    #[error("has a control character at byte {at}: remove it")]
    ControlCharacter {
        /// The byte offset of the first control character.
        at: usize,
    },
    /// The text contains a character that this kind of name does not allow.
    #[error("has a forbidden character at byte {at}: allowed are {allowed}")]
    ForbiddenCharacter {
        /// The byte offset of the first such character.
        at: usize,
        /// The allowed characters.
        allowed: &'static str,
    },
    /// The text form of a stream ID has no `/` between the category and the ID.
    #[error("has no '/': write category/id or tenant@category/id")]
    NoSeparator,
}
