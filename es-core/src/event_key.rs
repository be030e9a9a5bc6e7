//! The keys whose events must stay in order.

use std::{fmt, str::FromStr};

use crate::{
    consumer_store::check_document_key,
    error::{InvalidName, NameProblem},
    limits,
    name::check_text,
    stream_id::StreamId,
};

const WHAT: &str = "event key";

/// A key whose events a consumer must receive in order. For a projection or reactor it is the partition key, which is
/// the stream by default. For a view it is a document that an event concerns. If an event is parked, events of other
/// keys do not wait for it.
///
/// The kinds cannot be confused: each has its own prefix in the text form.
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
    /// A whole stream. This is also the key of an event that cannot be read, and therefore has no other key.
    Stream(StreamId),
    /// A document of a view.
    Document(String),
    /// The result of [`Projection::partition_key`](crate::Projection::partition_key) or
    /// [`Reactor::partition_key`](crate::Reactor::partition_key), if it is not the stream.
    Partition(String),
}

impl EventKey {
    const STREAM: &'static str = "stream:";
    const DOCUMENT: &'static str = "document:";
    const PARTITION: &'static str = "partition:";

    /// Creates the key of a document.
    ///
    /// # Errors
    /// Returns the [`InvalidName`] of [`check_document_key`].
    pub fn document(key: &str) -> Result<Self, InvalidName> {
        check_document_key(key)?;
        Ok(Self::Document(key.to_owned()))
    }

    /// Creates a partition key.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if it is empty, longer than [`limits::MAX_PARTITION_KEY_BYTES`], or contains a control
    /// character.
    pub fn partition(key: &str) -> Result<Self, InvalidName> {
        check_text("partition key", key, limits::MAX_PARTITION_KEY_BYTES)?;
        Ok(Self::Partition(key.to_owned()))
    }

    /// Returns the key of an event for which a projection or reactor returned this partition key. If the partition key
    /// is the text of the stream, or cannot be used, the stream is the key.
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
