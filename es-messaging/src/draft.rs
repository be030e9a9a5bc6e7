//! Messages of one event, with attributes filled in from its envelope.

use std::{fmt::Write, time::Duration};

use es_core::{Envelope, Recorded, limits as core_limits};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    broker::Outgoing,
    error::MalformedMessage,
    message::{Message, MessageBuilder, extension},
    topic_template::TopicTemplate,
};

/// The settings that all messages of a relay share.
#[derive(Debug, Clone)]
pub(crate) struct DraftSettings {
    pub(crate) source: String,
    pub(crate) topic: TopicTemplate,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) priority: Option<u8>,
}

/// The reason why the messages of an event could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// An attribute violates the CloudEvents specification.
    #[error("{0}")]
    Message(#[from] MalformedMessage),
    /// The content cannot be written as JSON.
    #[error("the message's content cannot be written as JSON")]
    Content(#[from] serde_json::Error),
    /// The value is not a variant of an enum in serde's default form, so the message has no type.
    #[error("the message is no variant of an enum in serde's default form; name its type yourself with map_with")]
    NoVariant,
    /// The topic or the key is too long.
    #[error("{what} has {bytes} bytes, the limit is {max_bytes}")]
    TooLong {
        /// Which of the two.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// Two messages of one event have the same ID but differ in type or content. Receivers would treat the second as a
    /// duplicate.
    #[error("two messages of one event have the id {id} and differ; give one of them another end of its id")]
    SameId {
        /// The id.
        id: String,
    },
    /// A reason of the mapper itself.
    #[error("{0}")]
    Other(#[source] es_core::BoxError),
}

impl MapError {
    /// Returns an error with the mapper's own reason.
    pub fn other(error: impl Into<es_core::BoxError>) -> Self {
        Self::Other(error.into())
    }
}

/// Collects the messages that a mapper creates for one event.
#[derive(Debug)]
pub struct Drafts<'a> {
    settings: &'a DraftSettings,
    envelope: &'a Envelope,
    ordinal: u32,
    key: &'a str,
    made: u32,
    out: &'a mut Vec<Outgoing>,
}

impl<'a> Drafts<'a> {
    pub(crate) fn new<E>(
        settings: &'a DraftSettings,
        event: &'a Recorded<E>,
        key: &'a str,
        out: &'a mut Vec<Outgoing>,
    ) -> Self {
        Self { settings, envelope: event.envelope(), ordinal: event.ordinal(), key, made: 0, out }
    }

    /// Starts a message of a type, with attributes filled in from the event: ID, source, subject (the stream), time
    /// (when it happened), key, and the extensions of [`extension`].
    ///
    /// The ID is that of the event. The ID of the second message of an event ends in `.1`, and so on. The same event
    /// therefore always has the same IDs, as long as the mapper creates the same messages in the same order. If the
    /// mapper may not, use [`Draft::id_suffix`].
    pub fn message(&mut self, message_type: impl Into<String>) -> Draft {
        let Self { settings, envelope, ordinal, .. } = *self;
        let mut id = envelope.id().to_string();
        // Writing to a `String` never fails.
        let _ = match (ordinal, self.made) {
            (0, 0) => Ok(()),
            (0, made) => write!(id, ".{made}"),
            (ordinal, made) => write!(id, ".{ordinal}.{made}"),
        };
        self.made += 1;
        let message_type = message_type.into();
        let topic = settings.topic.topic(envelope, &message_type);
        let metadata = envelope.metadata();
        let builder = Message::builder(message_type, settings.source.as_str())
            .id(id)
            .subject(envelope.stream().as_str())
            .time(envelope.occurred_at())
            .key(self.key)
            .extension(extension::POSITION, envelope.position().get().to_string())
            .extension(extension::VERSION, envelope.version().get().to_string())
            .maybe_extension(extension::RECORDED, envelope.recorded_at().format(&Rfc3339).ok())
            .maybe_extension(extension::CORRELATION, metadata.correlation())
            .maybe_extension(extension::CAUSATION, metadata.causation())
            .maybe_extension(extension::TRACE_PARENT, metadata.trace_parent());
        let draft = Draft { builder, topic, event_id: envelope.id(), ordinal };
        let draft = match settings.expires_after {
            Some(after) => {
                let after = time::Duration::try_from(after).unwrap_or(time::Duration::MAX);
                draft.expires_at(envelope.occurred_at().saturating_add(after))
            }
            None => draft,
        };
        match settings.priority {
            Some(priority) => draft.priority(priority),
            None => draft,
        }
    }

    /// Adds a message. Messages are published in the order in which they were added.
    ///
    /// # Errors
    /// Returns [`MapError::Message`], [`MapError::TooLong`], or [`MapError::SameId`].
    pub fn add(&mut self, draft: Draft) -> Result<(), MapError> {
        let Draft { builder, topic, event_id, .. } = draft;
        let message = builder.build()?;
        let sizes = [
            ("a topic", core_limits::MAX_TOPIC_BYTES, topic.len()),
            ("a message's key", core_limits::MAX_MESSAGE_KEY_BYTES, message.key().map_or(0, str::len)),
        ];
        if let Some(&(what, max_bytes, bytes)) = sizes.iter().find(|(_, max, bytes)| bytes > max) {
            return Err(MapError::TooLong { what, bytes, max_bytes });
        }
        let (id, event_id) = (message.id(), event_id.to_string());
        let of_event = self.out.iter().rev().map(|before| &before.message);
        let mut same =
            of_event.take_while(|before| before.id().starts_with(&event_id)).filter(|before| before.id() == id);
        let content = |message: &Message| (message.message_type().to_owned(), message.data().to_vec());
        if same.any(|before| content(before) != content(&message)) {
            return Err(MapError::SameId { id: id.to_owned() });
        }
        self.out.push(Outgoing { topic, message });
        Ok(())
    }
}

/// An unfinished message of an event.
#[derive(Debug, Clone)]
#[must_use = "a draft is published once it is added"]
pub struct Draft {
    builder: MessageBuilder,
    topic: String,
    event_id: uuid::Uuid,
    ordinal: u32,
}

impl Draft {
    /// Sets the content as JSON.
    ///
    /// # Errors
    /// Returns [`MapError::Content`] if the value cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, data: &T) -> Result<Self, MapError> {
        let builder = self.builder.json(data)?;
        Ok(Self { builder, ..self })
    }

    /// Sets the content and its type.
    pub fn data(self, content_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        self.with(|builder| builder.data(content_type, data))
    }

    /// Sets another topic than that of the relay.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    /// Sets another key than that of the mapper. Messages of the same key stay in the order of their events, as long as
    /// the relay is unpartitioned.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.with(|builder| builder.key(key))
    }

    /// Sets another ending of the ID than the number of the message within its event, for a mapper that may later
    /// create different messages for an event. The suffix of a message must never change.
    pub fn id_suffix(self, suffix: &str) -> Self {
        let (event_id, ordinal) = (self.event_id, self.ordinal);
        self.with(|builder| match ordinal {
            0 => builder.id(format!("{event_id}.{suffix}")),
            ordinal => builder.id(format!("{event_id}.{ordinal}.{suffix}")),
        })
    }

    /// Sets the time at which the message expires.
    pub fn expires_at(self, time: OffsetDateTime) -> Self {
        self.with(|builder| builder.expires_at(time))
    }

    /// Sets the priority, from 0 to 9. Larger values count as 9.
    pub fn priority(self, priority: u8) -> Self {
        self.with(|builder| builder.priority(priority))
    }

    /// Changes anything else about the message.
    pub fn with(self, change: impl FnOnce(MessageBuilder) -> MessageBuilder) -> Self {
        Self { builder: change(self.builder), ..self }
    }
}
