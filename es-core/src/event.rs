//! Events in their three forms: new, recorded, and typed.

use std::{fmt, ops::Deref, sync::Arc};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    codec::{encode::encode_event, json_text::check_json, read_back},
    domain_event::DomainEvent,
    error::{EncodeError, InvalidName},
    limits,
    metadata::Metadata,
    name::check_text,
    position::Position,
    stream_id::StreamId,
    timestamp::to_stored_precision,
    version::Version,
};

/// The type of an event: the serde name of the enum's variant. Together with the category of the stream, it identifies
/// the schema of the event.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// Creates an event type after checking the name.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if the name is empty, longer than [`limits::MAX_EVENT_TYPE_BYTES`], or contains a
    /// control character.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check_text("event type", name, limits::MAX_EVENT_TYPE_BYTES)?;
        Ok(Self(name.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for EventType {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// JSON text: the content of an event, a snapshot, or a view's document. Stores keep its exact bytes. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<str>);

impl Payload {
    /// Creates a payload from JSON text.
    ///
    /// # Errors
    /// Returns serde_json's error if the text is not JSON, or if it contains something that not every store can keep or
    /// not every reader can read: a NUL character or half of a surrogate pair in a string, a number outside the range
    /// of `f64`, or more than [`limits::MAX_JSON_DEPTH`] levels.
    pub fn from_json(json: impl Into<Arc<str>>) -> Result<Self, serde_json::Error> {
        let json = json.into();
        check_json(&json)?;
        Ok(Self(json))
    }

    /// Creates a payload from text that a store or an encoder wrote, and that [`from_json`](Self::from_json) is
    /// therefore known to accept.
    pub fn trusted(json: impl Into<Arc<str>>) -> Self {
        Self(json.into())
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Payload {
    /// Shows only the size: a payload may be private and must not appear in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// An event that is not stored yet.
///
/// ```
/// use es_core::{EventType, Metadata, NewEvent, Payload};
/// let event = NewEvent::new(EventType::new("Deposited")?, Payload::from_json(r#"{"cents":100}"#)?)
///     .with_metadata(Metadata::new().with_actor("teller"));
/// assert_eq!(event.event_type(), "Deposited");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    id: Uuid,
    event_type: EventType,
    payload: Payload,
    metadata: Metadata,
    occurred_at: Option<OffsetDateTime>,
}

impl NewEvent {
    /// Creates an event with a new ID (UUID version 7).
    pub fn new(event_type: EventType, payload: Payload) -> Self {
        Self::from_parts(Uuid::now_v7(), event_type, payload)
    }

    /// Encodes a domain event with a new ID. Use this for an import that appends events directly, several thousand per
    /// commit. The stream must belong to [`DomainEvent::CATEGORY`].
    ///
    /// ```
    /// use es_core::{Append, DomainEvent, EventStore, ExpectedVersion, MemoryStore, NewEvent, StreamId};
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize)]
    /// enum AccountEvent { Opened { owner: String }, Deposited { cents: i64 } }
    /// # impl DomainEvent for AccountEvent { const CATEGORY: &'static str = "account"; }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = MemoryStore::new();
    /// let history = [AccountEvent::Opened { owner: "Ann".into() }, AccountEvent::Deposited { cents: 100 }];
    /// let events = history.iter().map(NewEvent::of).collect::<Result<_, _>>()?;
    /// let stream = StreamId::new(AccountEvent::CATEGORY, "ann")?;
    /// store.append(&Append::to(stream, ExpectedVersion::NoStream, events).build()?).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns [`EncodeError`] if the event contains something that JSON or a database would lose, is not an externally
    /// tagged enum, or would not be read back as it was written.
    pub fn of<E: DomainEvent>(event: &E) -> Result<Self, EncodeError> {
        let (event_type, encoded) = encode_event(event)?;
        read_back::check_event::<E>(&event_type, &encoded)?;
        let metadata = Metadata::new().with_schema_version(E::SCHEMA_VERSION);
        Ok(Self::new(event_type, encoded.payload).with_metadata(metadata))
    }

    /// Creates an event with a known ID. Stores build events from their rows in this way. No new ID is generated.
    pub fn from_parts(id: Uuid, event_type: EventType, payload: Payload) -> Self {
        Self { id, event_type, payload, metadata: Metadata::new(), occurred_at: None }
    }

    /// Returns the event with an ID chosen by the caller. Appending the same ID with the same content again stores
    /// nothing twice.
    #[must_use]
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    /// Returns the event with other metadata. The event keeps the schema version that [`of`](Self::of) set, unless the
    /// new metadata specify another one.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        let own = self.metadata.schema_version();
        self.metadata = if metadata.schema_version() == 1 { metadata.with_schema_version(own) } else { metadata };
        self
    }

    /// Sets when the event happened, if that differs from when it is recorded. The time is kept in UTC, to the
    /// microsecond.
    #[must_use]
    pub fn with_occurred_at(mut self, time: OffsetDateTime) -> Self {
        self.occurred_at = Some(to_stored_precision(time));
        self
    }

    /// Returns the ID, which is unique in the store.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Returns the event type.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Returns the content.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Returns the metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns when the event happened, if the caller specified a time.
    pub fn occurred_at(&self) -> Option<OffsetDateTime> {
        self.occurred_at
    }

    /// Returns the event as recorded at a place in the log. Stores build recorded events from their rows in this way.
    pub fn recorded(
        self,
        stream: StreamId,
        version: Version,
        position: Position,
        recorded_at: OffsetDateTime,
    ) -> RecordedEvent {
        let Self { id, event_type, payload, metadata, occurred_at } = self;
        let envelope = Envelope { position, stream, version, id, event_type, metadata, occurred_at, recorded_at };
        RecordedEvent { envelope, payload }
    }
}

/// Everything about a recorded event except its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    position: Position,
    stream: StreamId,
    version: Version,
    id: Uuid,
    event_type: EventType,
    metadata: Metadata,
    occurred_at: Option<OffsetDateTime>,
    recorded_at: OffsetDateTime,
}

impl Envelope {
    /// Returns the event's place in the log.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Returns the stream.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Returns the event's place in the stream.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the ID, which is unique in the store.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Returns the type under which the event is stored.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Returns the metadata: for example the actor, the cause, and the source.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns when the event happened: the time that the writer specified, or else [`recorded_at`](Self::recorded_at).
    pub fn occurred_at(&self) -> OffsetDateTime {
        self.occurred_at.unwrap_or(self.recorded_at)
    }

    /// Returns when the store recorded the event, by the store's clock and to the microsecond. The time never decreases
    /// as the position increases.
    pub fn recorded_at(&self) -> OffsetDateTime {
        self.recorded_at
    }
}

/// An event that is stored, with its place and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    envelope: Envelope,
    payload: Payload,
}

impl RecordedEvent {
    /// Returns everything except the content.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Returns the content.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Returns the event with another content: the content with which an operator retries a parked event. The store is
    /// not changed.
    #[must_use]
    pub fn with_payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// Returns both parts.
    pub fn into_parts(self) -> (Envelope, Payload) {
        (self.envelope, self.payload)
    }

    /// Returns whether this is `event`, with the same ID and the same content, at any place.
    pub fn is_same_as(&self, event: &NewEvent) -> bool {
        let own = &self.envelope;
        own.id == event.id
            && own.event_type == event.event_type
            && self.payload == event.payload
            && own.metadata == event.metadata
            && own.occurred_at == event.occurred_at
    }
}

impl Deref for RecordedEvent {
    type Target = Envelope;
    fn deref(&self) -> &Envelope {
        &self.envelope
    }
}

/// A recorded event as the domain's own type, with its envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded<E> {
    /// The domain event.
    pub event: E,
    ordinal: u32,
    envelope: Envelope,
}

impl<E> Recorded<E> {
    /// Creates a recorded domain event, for tests and for code that builds its own.
    pub fn new(event: E, envelope: Envelope) -> Self {
        Self { event, ordinal: 0, envelope }
    }

    pub(crate) fn part(event: E, ordinal: u32, envelope: Envelope) -> Self {
        Self { event, ordinal, envelope }
    }

    /// Returns 0, or the place within one stored event that an upcaster split into several.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Returns everything except the domain event.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

impl<E> Deref for Recorded<E> {
    type Target = Envelope;
    fn deref(&self) -> &Envelope {
        &self.envelope
    }
}
