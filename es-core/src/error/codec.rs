//! Errors of encoding and decoding domain events.

use super::InvalidName;
use crate::{consumer_name::ConsumerName, position::Position, stream_id::StreamId, version::Version};

/// The reason why a domain event could not be encoded. Nothing was sent to the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The type is not an externally tagged enum, serde's default. Remove `#[serde(tag)]`, `#[serde(untagged)]`, or the
    /// surrounding struct.
    #[error("{type_name} cannot be stored: an event must be an enum in serde's default (externally tagged) form")]
    NotExternallyTagged {
        /// The Rust type.
        type_name: &'static str,
    },
    /// A float is NaN or infinite, which JSON cannot represent. Decide in the domain what to record instead.
    #[error("an event of type {event_type} holds a float that is not a finite number, which JSON cannot hold")]
    NotFinite {
        /// The event type.
        event_type: String,
    },
    /// A text contains the character NUL, which databases refuse. Reject it where it enters the domain.
    #[error("an event of type {event_type} holds a text with a NUL character, which cannot be stored")]
    NulCharacter {
        /// The event type.
        event_type: String,
    },
    /// A value is nested too deeply and could not be read back. Store it in a flat form, or as a text.
    #[error("an event of type {event_type} is nested more than {limit} levels deep, and could not be read back")]
    TooDeep {
        /// The event type.
        event_type: String,
        /// [`limits::MAX_JSON_DEPTH`](crate::limits::MAX_JSON_DEPTH).
        limit: usize,
    },
    /// An object would contain the same key twice, because a flattened map has a key that is also the name of a field.
    /// Rename the field, or do not flatten the map.
    #[error("an event of type {event_type} holds an object with the same key twice, and could not be read back")]
    RepeatedKey {
        /// The event type.
        event_type: String,
    },
    /// A trial encoded and decoded the value, and the result was different. Change the serde attributes as `problem`
    /// says.
    #[error("{what} cannot be stored, because {type_name} would not read it back as it was: {problem}")]
    NotReadable {
        /// The event type, the view, or the snapshot.
        what: String,
        /// The Rust type.
        type_name: &'static str,
        /// What happened, and what to change.
        problem: String,
    },
    /// The variant's name cannot be an event type.
    #[error("{0}")]
    InvalidName(#[from] InvalidName),
    /// serde_json could not write the value, for example a map whose keys are structs.
    #[error("an event of type {event_type} cannot be written as JSON")]
    Json {
        /// The event type.
        event_type: String,
        /// serde_json's error, without the content.
        source: serde_json::Error,
    },
}

/// The reason why a stored event could not be decoded. The event is never skipped: fix the code and run it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The code has no variant and no upcaster for this type. Add one, or retire the type in `upcasters()`.
    #[error(
        "the event at position {position} (stream {stream}, version {version}) has the type {event_type:?}, which \
         {type_name} does not know; add a variant or an upcaster, or retire the type"
    )]
    UnknownType {
        /// The position of the event.
        position: Position,
        /// The stream of the event.
        stream: StreamId,
        /// The version of the event in the stream.
        version: Version,
        /// The stored type of the event.
        event_type: String,
        /// The requested Rust type.
        type_name: &'static str,
    },
    /// The payload does not match the variant. Change the code so that it can read the payload, with a serde default or
    /// an upcaster.
    #[error(
        "the event at position {position} (stream {stream}, version {version}, type {event_type:?}) does not fit {type_name}; \
         give new fields a default or add an upcaster"
    )]
    Payload {
        /// The position of the event.
        position: Position,
        /// The stream of the event.
        stream: StreamId,
        /// The version of the event in the stream.
        version: Version,
        /// The stored type of the event.
        event_type: String,
        /// The requested Rust type.
        type_name: &'static str,
        /// serde_json's error, without the content. To see the content, decode the payload with the type itself.
        source: serde_json::Error,
    },
    /// The rules of the event type contradict each other, or it is not an enum in serde's default form. Nothing was
    /// read. Change the code as `problem` says.
    #[error("the events of {type_name} cannot be read: {problem}")]
    Misconfigured {
        /// The Rust type.
        type_name: &'static str,
        /// What is wrong, and what to change.
        problem: String,
    },
    /// The document of a view does not match the view's type. Rebuild the view.
    #[error("the document {key:?} of the view {view} does not fit its type; rebuild the view")]
    Document {
        /// The view.
        view: ConsumerName,
        /// The key of the document.
        key: String,
        /// serde_json's error, without the content.
        source: serde_json::Error,
    },
}
