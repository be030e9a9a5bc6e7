//! The two modes of CloudEvents.

use crate::{binding::ReceivedMode, message::Message};

/// How a message is represented in what a broker carries, in the terms of CloudEvents. Receivers accept both modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentMode {
    /// The attributes are headers, and the content is the body.
    Binary,
    /// The body is one JSON object with the attributes and the content, for receivers that do not see headers. Content
    /// that is not JSON is encoded as base64. Content that is declared as JSON but is not JSON is refused.
    Structured,
}

impl ContentMode {
    /// Returns the mode in which a message is sent: structured if this mode is structured, or if the content is itself
    /// a CloudEvent. In binary mode, the content type would indicate that the message is the inner event.
    #[must_use]
    pub fn suited_to(self, message: &Message) -> Self {
        match ReceivedMode::of(message.declared_content_type()) {
            ReceivedMode::Binary => self,
            _ => Self::Structured,
        }
    }

    /// Returns the size of the largest message, as [`Message::size`](crate::Message::size) counts it, that fits into
    /// `bytes` in this mode. Base64 makes content a third larger.
    #[must_use]
    pub fn largest_message(self, bytes: usize) -> usize {
        match self {
            Self::Binary => bytes,
            Self::Structured => bytes / 4 * 3,
        }
    }
}
