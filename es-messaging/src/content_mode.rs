//! The two modes of CloudEvents.

/// How a message lies in what a broker carries, in the words of CloudEvents. Whoever receives takes both modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentMode {
    /// Its attributes are headers, its content is the body.
    Binary,
    /// All of it is one JSON object in the body, for receivers that see no headers. Content that is no JSON is in it as base64; content
    /// that says it is JSON and is not is refused.
    Structured,
}

impl ContentMode {
    /// The largest message, as [`Message::size`](crate::Message::size) counts, that takes no more than so many bytes in this mode: base64
    /// makes a third more of a content.
    #[must_use]
    pub fn largest_message(self, bytes: usize) -> usize {
        match self {
            Self::Binary => bytes,
            Self::Structured => bytes / 4 * 3,
        }
    }
}
