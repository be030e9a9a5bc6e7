//! The keys of records.

use std::{borrow::Borrow, borrow::Cow, fmt, sync::Arc};

use crate::{
    error::{InvalidName, NameProblem},
    limits,
};

const WHAT: &str = "record key";
const SEPARATOR: char = '/';
const ESCAPE: char = '%';

/// The key of a record: segments, joined by `/`. Any text that is not empty can be a segment. A `/`, a `%`, or a
/// control character in a segment is kept as `%XX`. Cloning is cheap.
///
/// Keys are ordered by the bytes of their text form, in every store: `a-b` comes before `a/b`, and `a/b` before `a/bc`.
/// All keys below a key are adjacent; see [`RecordRange::under`](super::RecordRange::under).
///
/// ```
/// use es_core::store::RecordKey;
///
/// let key = RecordKey::of(["consumer", "orders/eu"])?;
/// assert_eq!(key.as_str(), "consumer/orders%2Feu");
/// assert_eq!(key.segments().collect::<Vec<_>>(), ["consumer", "orders/eu"]);
/// assert_eq!(RecordKey::parse(key.as_str())?, key);
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(Arc<str>);

impl RecordKey {
    /// Returns the key of these segments.
    ///
    /// # Errors
    /// Returns [`InvalidName`] without a segment, for an empty segment, and over [`limits::MAX_RECORD_KEY_BYTES`],
    /// which counts the escaped text.
    pub fn of<S: AsRef<str>>(segments: impl IntoIterator<Item = S>) -> Result<Self, InvalidName> {
        let mut text = String::new();
        for segment in segments {
            let segment = segment.as_ref();
            if segment.is_empty() {
                return Err(InvalidName::new("segment of a record key", segment, NameProblem::Empty));
            }
            if !text.is_empty() {
                text.push(SEPARATOR);
            }
            escape(segment, &mut text);
        }
        let max_bytes = limits::MAX_RECORD_KEY_BYTES;
        let problem = match text.len() {
            0 => NameProblem::Empty,
            bytes if bytes > max_bytes => NameProblem::TooLong { bytes, max_bytes },
            _ => return Ok(Self(text.into())),
        };
        Err(InvalidName::new(WHAT, &text, problem))
    }

    /// Parses the text that [`as_str`](Self::as_str) returned.
    ///
    /// # Errors
    /// Returns [`InvalidName`] for any other text, including a text with unnecessary escapes.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let forbidden = |at| {
            let allowed = "'%2F', '%25' and control characters as '%XX' after a '%', and no control characters";
            InvalidName::new(WHAT, text, NameProblem::ForbiddenCharacter { at, allowed })
        };
        let mut segments = Vec::new();
        for segment in text.split(SEPARATOR) {
            segments.push(unescape(segment).ok_or_else(|| forbidden(text.find(ESCAPE).unwrap_or(0)))?);
        }
        let key = Self::of(&segments)?;
        match text.bytes().zip(key.0.bytes()).position(|(given, kept)| given != kept) {
            None if text.len() == key.0.len() => Ok(key),
            difference => Err(forbidden(difference.unwrap_or(0))),
        }
    }

    /// Returns the segments, as they were passed to [`of`](Self::of).
    pub fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        // Every key has passed the check, so each of its segments can be unescaped.
        self.0.split(SEPARATOR).map(|segment| unescape(segment).unwrap_or(Cow::Borrowed(segment)))
    }

    /// Returns the text form, which stores keep and order by its bytes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn escape(segment: &str, text: &mut String) {
    for c in segment.chars() {
        if c == SEPARATOR || c == ESCAPE || c.is_control() {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                text.push_str(&format!("{ESCAPE}{byte:02X}"));
            }
        } else {
            text.push(c);
        }
    }
}

/// Returns the segment before it was escaped, or `None` for an invalid escape.
fn unescape(segment: &str) -> Option<Cow<'_, str>> {
    let mut parts = segment.split(ESCAPE);
    let first = parts.next()?;
    if first.len() == segment.len() {
        return Some(Cow::Borrowed(segment));
    }
    let mut bytes = first.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        // `from_str_radix` would also accept a sign.
        digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

impl Borrow<str> for RecordKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_can_be_a_segment_and_comes_back() {
        let odd = ["a/b", "100%", "%2F", "\0\n", "\u{85}", "é 🦀", "..", "~", "%"];
        for one in odd {
            for other in odd {
                let key = RecordKey::of([one, other]).unwrap();
                assert_eq!(key.segments().collect::<Vec<_>>(), [one, other], "{key}");
                assert!(!key.as_str().contains(char::is_control), "{key:?}");
                assert_eq!(RecordKey::parse(key.as_str()).unwrap(), key);
            }
        }
        assert_eq!(RecordKey::of(["a/%\n"]).unwrap().as_str(), "a%2F%25%0A");
    }

    #[test]
    fn what_no_key_has_as_its_text_is_not_read() {
        for text in
            ["", "/", "a/", "/a", "a//b", "%", "a%2", "a%2f", "a%61", "a%+5", "%é", "%FF", "a\nb", "%C2%85x/%7F\u{7f}"]
        {
            assert!(RecordKey::parse(text).is_err(), "{text:?}");
        }
        assert!(RecordKey::parse("%C2%85x/%7F").is_ok());
    }

    #[test]
    fn a_key_is_as_long_as_its_escaped_text() {
        let limit = limits::MAX_RECORD_KEY_BYTES;
        assert!(RecordKey::of(["x".repeat(limit)]).is_ok());
        assert!(RecordKey::of(["x".repeat(limit + 1)]).is_err());
        assert!(RecordKey::of(["%".repeat(limit / 3 + 1)]).is_err());
        assert!(RecordKey::of(Vec::<String>::new()).is_err());
        assert!(RecordKey::of(["a", ""]).unwrap_err().to_string().contains("segment of a record key"));
    }
}
