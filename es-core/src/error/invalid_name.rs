//! A name that cannot be used.

/// A name, key or other short text that cannot be used: fix the caller. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} {problem}")]
pub struct InvalidName {
    what: &'static str,
    name: String,
    problem: NameProblem,
}

impl InvalidName {
    /// Characters of the offending text that an error shows.
    const SHOWN_CHARS: usize = 80;

    pub(crate) fn new(what: &'static str, text: &str, problem: NameProblem) -> Self {
        let mut name: String = text.chars().take(Self::SHOWN_CHARS).collect();
        if name.len() < text.len() {
            name.push('…');
        }
        Self { what, name, problem }
    }

    /// What kind of name it is: "category", "event type", "idempotency key" …
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &NameProblem {
        &self.problem
    }
}

/// What is wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// It has no characters.
    #[error("is empty: give it at least one character")]
    Empty,
    /// It is longer than its limit.
    #[error("has {bytes} bytes, the limit is {max_bytes}: shorten it")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The limit, from [`limits`](crate::limits).
        max_bytes: usize,
    },
    /// It holds a NUL, a line end or another control character.
    #[error("has a control character at byte {at}: remove it")]
    ControlCharacter {
        /// Byte offset of the first one.
        at: usize,
    },
    /// It holds a character that its kind of name does not allow.
    #[error("has a forbidden character at byte {at}: allowed are {allowed}")]
    ForbiddenCharacter {
        /// Byte offset of the first one.
        at: usize,
        /// What may be used instead.
        allowed: &'static str,
    },
    /// The text form of a stream id has no `/` between category and id.
    #[error("has no '/': write category/id or tenant@category/id")]
    NoSeparator,
}
