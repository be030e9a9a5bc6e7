//! The keys within which the order of events counts.

use std::{fmt, str::FromStr};

use crate::{
    consumer_store::check_document_key,
    error::{InvalidName, NameProblem},
    limits,
    name::check_text,
    stream_id::StreamId,
};

const WHAT: &str = "event key";

/// A key within which a consumer must be given events in order: of a projection or reactor its partition key, which is the
/// stream unless it says otherwise, and of a view the documents that an event concerns. Events of different keys do not wait
/// for each other when one of them is parked.
///
/// The kinds cannot be mistaken for each other: each has its own beginning in the text form.
///
/// ```
/// use es_core::EventKey;
/// let key: EventKey = "document:ann".parse()?;
/// assert_eq!(key, EventKey::document("ann")?);
/// assert_eq!(EventKey::partition("account/ann")?.to_string(), "partition:account/ann");
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventKey {
    /// A whole stream. Also the key of an event that cannot be read, and so has no other.
    Stream(StreamId),
    /// A document of a view.
    Document(String),
    /// What [`Projection::partition_key`](crate::Projection::partition_key) or
    /// [`Reactor::partition_key`](crate::Reactor::partition_key) says, if that is not the stream.
    Partition(String),
}

impl EventKey {
    const STREAM: &'static str = "stream:";
    const DOCUMENT: &'static str = "document:";
    const PARTITION: &'static str = "partition:";

    /// The key of a document.
    ///
    /// # Errors
    /// [`InvalidName`] as of [`check_document_key`].
    pub fn document(key: &str) -> Result<Self, InvalidName> {
        check_document_key(key)?;
        Ok(Self::Document(key.to_owned()))
    }

    /// A partition key.
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, over [`limits::MAX_PARTITION_KEY_BYTES`] or holds a control character.
    pub fn partition(key: &str) -> Result<Self, InvalidName> {
        check_text("partition key", key, limits::MAX_PARTITION_KEY_BYTES)?;
        Ok(Self::Partition(key.to_owned()))
    }

    /// The key of an event for which a projection or reactor says this partition key. One that is the stream's text, or
    /// cannot be used, is the stream.
    pub fn of(key: &str, stream: &StreamId) -> Self {
        match key == stream.as_str() {
            true => Self::Stream(stream.clone()),
            false => Self::partition(key).unwrap_or_else(|_| Self::Stream(stream.clone())),
        }
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(stream) => write!(f, "{}{stream}", Self::STREAM),
            Self::Document(key) => write!(f, "{}{key}", Self::DOCUMENT),
            Self::Partition(key) => write!(f, "{}{key}", Self::PARTITION),
        }
    }
}

impl FromStr for EventKey {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if let Some(stream) = text.strip_prefix(Self::STREAM) {
            return Ok(Self::Stream(stream.parse()?));
        }
        if let Some(key) = text.strip_prefix(Self::DOCUMENT) {
            return Self::document(key);
        }
        if let Some(key) = text.strip_prefix(Self::PARTITION) {
            return Self::partition(key);
        }
        let problem =
            NameProblem::ForbiddenCharacter { at: 0, allowed: "stream:, document: or partition:, then the key" };
        Err(InvalidName::new(WHAT, text, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_kinds_are_never_mistaken_for_each_other() {
        let stream = EventKey::Stream("account/ann".parse().unwrap());
        let keys = [
            stream,
            EventKey::document("account/ann").unwrap(),
            EventKey::partition("account/ann").unwrap(),
            EventKey::document("stream:account/ann").unwrap(),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(key.to_string().parse::<EventKey>().unwrap(), *key);
            assert!(keys[n + 1..].iter().all(|other| other.to_string() != key.to_string()));
        }
        let stream: StreamId = "account/ann".parse().unwrap();
        let of = |key: &str| EventKey::of(key, &stream).to_string();
        assert_eq!([of("account/ann"), of("eu"), of("")], ["stream:account/ann", "partition:eu", "stream:account/ann"]);
        for text in ["", "ann", "stream:ann", "document:", "partition:", "Stream:account/ann", "partition:a\0b"] {
            assert!(text.parse::<EventKey>().is_err(), "{text:?}");
        }
    }
}
