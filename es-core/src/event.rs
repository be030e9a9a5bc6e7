//! Events in their lives: new, recorded, and typed.

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

/// What kind of event it is: the serde name of the enum's variant. Together with the stream's category it
/// identifies the event's schema.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// A checked event type.
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, longer than [`limits::MAX_EVENT_TYPE_BYTES`] or holds a control character.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check_text("event type", name, limits::MAX_EVENT_TYPE_BYTES)?;
        Ok(Self(name.into()))
    }

    /// Its name.
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

/// JSON text: the content of an event, a snapshot or a view's document. Stores keep its exact bytes. Cloning is
/// cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<str>);

impl Payload {
    /// A payload of JSON text.
    ///
    /// # Errors
    /// serde_json's error if the text is not JSON, or is JSON that not every store keeps or not every reader reads: a
    /// NUL character or half of a surrogate pair in a text, a number beyond `f64`, or more than
    /// [`limits::MAX_JSON_DEPTH`] levels.
    pub fn from_json(json: impl Into<Arc<str>>) -> Result<Self, serde_json::Error> {
        let json = json.into();
        check_json(&json)?;
        Ok(Self(json))
    }

    /// A payload whose text is known to be what [`from_json`](Self::from_json) accepts, because a store or an encoder
    /// wrote it.
    pub fn trusted(json: impl Into<Arc<str>>) -> Self {
        Self(json.into())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Payload {
    /// Shows the size alone: a payload may be private and has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// An event before it is stored.
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
    /// An event with a fresh id (UUID version 7).
    pub fn new(event_type: EventType, payload: Payload) -> Self {
        Self::from_parts(Uuid::now_v7(), event_type, payload)
    }

    /// A domain event as it is stored, with a fresh id: for an import that appends events by itself, several thousand
    /// to a commit. Its stream must be one of [`DomainEvent::CATEGORY`].
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
    /// [`EncodeError`] if it holds what JSON or a database would lose, is not an externally tagged enum, or would not
    /// be read back as it was written.
    pub fn of<E: DomainEvent>(event: &E) -> Result<Self, EncodeError> {
        let (event_type, encoded) = encode_event(event)?;
        read_back::check_event::<E>(&event_type, &encoded)?;
        let metadata = Metadata::new().with_schema_version(E::SCHEMA_VERSION);
        Ok(Self::new(event_type, encoded.payload).with_metadata(metadata))
    }

    /// An event with an id that is known already: what stores build from their rows. No fresh id is drawn for it.
    pub fn from_parts(id: Uuid, event_type: EventType, payload: Payload) -> Self {
        Self { id, event_type, payload, metadata: Metadata::new(), occurred_at: None }
    }

    /// The same event with an id of the caller's. Sending the same id with the same content again stores nothing
    /// twice.
    #[must_use]
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    /// The same event with other metadata. It keeps the schema version that [`of`](Self::of) gave it, unless the
    /// metadata say another one.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        let own = self.metadata.schema_version();
        self.metadata = if metadata.schema_version() == 1 { metadata.with_schema_version(own) } else { metadata };
        self
    }

    /// Says when it happened, if that is not when it is recorded. Kept to the microsecond, in UTC.
    #[must_use]
    pub fn with_occurred_at(mut self, time: OffsetDateTime) -> Self {
        self.occurred_at = Some(to_stored_precision(time));
        self
    }

    /// Its id, unique in the store.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Its type.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Its content.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Its metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// When it happened, if the caller said so.
    pub fn occurred_at(&self) -> Option<OffsetDateTime> {
        self.occurred_at
    }

    /// The event as recorded in a place: what stores build from their rows.
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

/// Everything about a recorded event but its content.
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
    /// Its place in the whole log.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Its stream.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Its place in the stream.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its id, unique in the store.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The type under which it is stored.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Who, why, from where.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// When it happened: the time that the writer gave, or else [`recorded_at`](Self::recorded_at).
    pub fn occurred_at(&self) -> OffsetDateTime {
        self.occurred_at.unwrap_or(self.recorded_at)
    }

    /// When the store recorded it, by the store's clock, to the microsecond. It never decreases with the position.
    pub fn recorded_at(&self) -> OffsetDateTime {
        self.recorded_at
    }
}

/// An event as a store gives it back.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedEvent {
    envelope: Envelope,
    payload: Payload,
}

impl RecordedEvent {
    /// Everything but the content.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The content.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// The same event with another content: what somebody gave a parked event to be tried with. The store knows nothing of
    /// it.
    #[must_use]
    pub fn with_payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// Both parts.
    pub fn into_parts(self) -> (Envelope, Payload) {
        (self.envelope, self.payload)
    }

    /// Whether this is `event`, with the same id and the same content, in whatever place.
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
    /// A domain event in its envelope: for tests and for code that makes its own.
    pub fn new(event: E, envelope: Envelope) -> Self {
        Self { event, ordinal: 0, envelope }
    }

    pub(crate) fn part(event: E, ordinal: u32, envelope: Envelope) -> Self {
        Self { event, ordinal, envelope }
    }

    /// 0, or the place within one stored event that an upcaster split into several.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Everything but the domain event.
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
