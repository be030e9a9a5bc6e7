//! The two modes of CloudEvents.

use crate::{binding::ReceivedMode, message::Message};

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
    /// Returns the mode in which a message is sent: structured where this is the mode, and also where the content is a CloudEvent itself.
    /// In binary mode its content type would say that the message is the one inside.
    #[must_use]
    pub fn suited_to(self, message: &Message) -> Self {
        match ReceivedMode::of(message.declared_content_type()) {
            ReceivedMode::Binary => self,
            _ => Self::Structured,
        }
    }

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
