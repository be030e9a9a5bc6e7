//! Digests of the requests that idempotency keys are bound to.

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::{
    append::StreamAppend,
    codec::json_value::canonical_json,
    stream_id::StreamId,
    timestamp::{to_stored_precision, unix_micros},
};

/// A digest of what was requested under an [idempotency key](crate::IdempotencyKey). A store keeps it with the key, and
/// refuses the key for any other request.
///
/// The digest of an append covers its content: the streams in order, including those without events, and for each event
/// the type, the payload, and the time at which it occurred. IDs and metadata do not count, because they differ between
/// attempts. The order of a payload's fields does not count either.
///
/// A command of a [`Repository`](crate::Repository) may decide differently when it is sent again. Its digest therefore
/// covers its aggregates and [the request that the caller names](crate::Execute::request).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestDigest([u8; Self::BYTES]);

impl RequestDigest {
    /// The length of a digest, in bytes.
    pub const BYTES: usize = 32;

    /// Creates a digest from the bytes that a store has kept. Returns `None` for any other number of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Parses the text that [`to_hex`](Self::to_hex) writes, in upper or lower case. Returns `None` for any other text.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
        let (pairs, []) = digits.as_chunks::<2>() else { return None };
        Self::from_bytes(&pairs.iter().map(|[high, low]| high << 4 | low).collect::<Vec<_>>())
    }

    /// Returns the bytes as lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]).collect()
    }

    /// Returns the digest of an append's content.
    pub(crate) fn of_append(streams: &[StreamAppend]) -> Self {
        let mut fields = Fields::of("append");
        for part in streams {
            fields.text(part.stream().as_str());
            fields.number(part.events().len() as u64);
            for event in part.events() {
                fields.text(event.event_type());
                fields.text(&canonical_json(event.payload().as_str()));
                fields.time(event.occurred_at());
            }
        }
        fields.digest()
    }

    /// Returns the digest of a command, whatever it decides: its aggregates, of which the first has a role of its own,
    /// and the time at which it occurred.
    pub(crate) fn of_command(
        first: &StreamId,
        others: &mut [&StreamId],
        is_pure: bool,
        occurred_at: Option<OffsetDateTime>,
    ) -> Self {
        let mut fields = Fields::of(if is_pure { "command" } else { "function" });
        fields.streams(first, others);
        fields.time(occurred_at);
        fields.digest()
    }

    /// Returns the digest of a request that the caller names, as JSON, for a command on some aggregates.
    pub(crate) fn of_request(first: &StreamId, others: &mut [&StreamId], request: &str) -> Self {
        let mut fields = Fields::of("request");
        fields.streams(first, others);
        fields.text(&canonical_json(request));
        fields.digest()
    }
}

/// Fields with known lengths, so that two different lists of fields never have the same bytes.
struct Fields(Sha256);

impl Fields {
    fn of(kind: &str) -> Self {
        let mut fields = Self(Sha256::new());
        fields.text(kind);
        fields
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    fn time(&mut self, time: Option<OffsetDateTime>) {
        let micros = time.map(|time| unix_micros(to_stored_precision(time)));
        self.text(&micros.map_or_else(String::new, |micros| micros.to_string()));
    }

    fn streams(&mut self, first: &StreamId, others: &mut [&StreamId]) {
        self.text(first.as_str());
        others.sort_unstable_by_key(|stream| stream.as_str());
        self.number(others.len() as u64);
        others.iter().for_each(|stream| self.text(stream.as_str()));
    }

    fn digest(self) -> RequestDigest {
        RequestDigest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(id: &str) -> StreamId {
        StreamId::new("account", id).unwrap()
    }

    #[test]
    fn a_digest_survives_its_texts_and_bytes() {
        let digest = RequestDigest::of_append(&[]);
        let hex = digest.to_hex();
        assert_eq!(RequestDigest::from_hex(&hex), Some(digest));
        assert_eq!(RequestDigest::from_hex(&hex.to_uppercase()), Some(digest));
        assert_eq!(RequestDigest::from_bytes(digest.as_bytes()), Some(digest));
        for wrong in ["", "0", &hex[1..], &hex[2..], &hex.replace(|_| true, "g"), &"é".repeat(32)] {
            assert_eq!(RequestDigest::from_hex(wrong), None);
        }
    }

    #[test]
    fn a_commands_first_aggregate_has_a_role_of_its_own_and_the_others_come_in_any_order() {
        let (a, b, c) = (stream("a"), stream("b"), stream("c"));
        let of = |first, others: &[&StreamId]| RequestDigest::of_command(first, &mut others.to_vec(), true, None);
        assert_eq!(of(&a, &[&b, &c]), of(&a, &[&c, &b]));
        let different = [of(&a, &[&b, &c]), of(&b, &[&a, &c]), of(&a, &[&b]), of(&a, &[])];
        for (index, one) in different.iter().enumerate() {
            assert!(different[index + 1..].iter().all(|other| other != one));
        }
        let function = RequestDigest::of_command(&a, &mut [], false, None);
        let dated = RequestDigest::of_command(&a, &mut [], true, Some(OffsetDateTime::UNIX_EPOCH));
        let named = RequestDigest::of_request(&a, &mut [], "");
        assert!(![function, dated, named].contains(&of(&a, &[])));
        assert_eq!(
            RequestDigest::of_request(&a, &mut [], r#"{"x":1,"y":2}"#),
            RequestDigest::of_request(&a, &mut [], r#"{ "y": 2, "x": 1 }"#)
        );
    }
}
