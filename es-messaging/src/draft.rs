//! Messages of one event, filled in from its envelope.

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

/// What every message of a relay has in common.
#[derive(Debug, Clone)]
pub(crate) struct DraftSettings {
    pub(crate) source: String,
    pub(crate) topic: TopicTemplate,
    pub(crate) expires_after: Option<Duration>,
    pub(crate) priority: Option<u8>,
}

/// Why the messages of an event could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// An attribute is not as CloudEvents has it.
    #[error("{0}")]
    Message(#[from] MalformedMessage),
    /// The content cannot be written as JSON.
    #[error("the message's content cannot be written as JSON")]
    Content(#[from] serde_json::Error),
    /// The value is no variant of an enum in serde's default form, of which the type of the message could be taken.
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
    /// Two messages of one event have the same id and another type or content: receivers would take the second for a duplicate.
    #[error("two messages of one event have the id {id} and differ; give one of them another end of its id")]
    SameId {
        /// The id.
        id: String,
    },
    /// The mapper's own reason.
    #[error("{0}")]
    Other(#[source] es_core::BoxError),
}

impl MapError {
    /// A reason of the mapper's own.
    pub fn other(error: impl Into<es_core::BoxError>) -> Self {
        Self::Other(error.into())
    }
}

/// Takes the messages that a mapper makes of one event.
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

    /// Begins a message of a type, filled in from the event: id, source, subject (the stream), time (when it happened), the key, and
    /// the extensions of [`extension`].
    ///
    /// The id is the event's own; of the second message of an event it ends in `.1`, and so on, so that the same event always
    /// has the same ids, as long as the mapper makes the same messages in the same order ([`Draft::id_suffix`] if it may not).
    pub fn message(&mut self, message_type: impl Into<String>) -> Draft {
        let Self { settings, envelope, ordinal, .. } = *self;
        let mut id = envelope.id().to_string();
        // A String takes everything.
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

    /// Takes a message: it is published after those that were taken before.
    ///
    /// # Errors
    /// [`MapError::Message`], [`MapError::TooLong`], [`MapError::SameId`].
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

/// A message of an event, not yet finished.
#[derive(Debug, Clone)]
#[must_use = "a draft is published once it is added"]
pub struct Draft {
    builder: MessageBuilder,
    topic: String,
    event_id: uuid::Uuid,
    ordinal: u32,
}

impl Draft {
    /// Content as JSON.
    ///
    /// # Errors
    /// [`MapError::Content`] if it cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, data: &T) -> Result<Self, MapError> {
        let builder = self.builder.json(data)?;
        Ok(Self { builder, ..self })
    }

    /// Content of some type.
    pub fn data(self, content_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        self.with(|builder| builder.data(content_type, data))
    }

    /// Another topic than the relay's.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    /// Another key than the mapper's. Messages of the same key stay in the order of their events, as long as the relay is
    /// one partition.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.with(|builder| builder.key(key))
    }

    /// Another end of its id than the number of the message within its event: for a mapper that may come to make other messages
    /// of an event. It must always be the same.
    pub fn id_suffix(self, suffix: &str) -> Self {
        let (event_id, ordinal) = (self.event_id, self.ordinal);
        self.with(|builder| match ordinal {
            0 => builder.id(format!("{event_id}.{suffix}")),
            ordinal => builder.id(format!("{event_id}.{ordinal}.{suffix}")),
        })
    }

    /// After this time nobody wants it any more.
    pub fn expires_at(self, time: OffsetDateTime) -> Self {
        self.with(|builder| builder.expires_at(time))
    }

    /// From 0 to 9; more counts as 9.
    pub fn priority(self, priority: u8) -> Self {
        self.with(|builder| builder.priority(priority))
    }

    /// Anything else that a message can have.
    pub fn with(self, change: impl FnOnce(MessageBuilder) -> MessageBuilder) -> Self {
        Self { builder: change(self.builder), ..self }
    }
}
