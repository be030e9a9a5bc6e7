//! The version that an append expects of a stream, and the one rule that decides whether it matches.

use uuid::Uuid;

use crate::version::Version;

/// The version that an append expects of a stream (optimistic concurrency).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExpectedVersion {
    /// No expectation: the append succeeds at any version.
    Any,
    /// The stream does not exist yet.
    NoStream,
    /// The stream has at least one event.
    Exists,
    /// The stream is at exactly this version; `Exact(Version::ZERO)` is the same as `NoStream`.
    Exact(Version),
}

impl ExpectedVersion {
    /// Returns whether a stream at version `actual` matches the expectation. Every store decides by this rule.
    ///
    /// ```
    /// use es_core::{ExpectedVersion, Version};
    /// assert!(ExpectedVersion::NoStream.accepts(Version::ZERO));
    /// assert!(!ExpectedVersion::Exact(Version::new(3)).accepts(Version::new(4)));
    /// ```
    pub fn accepts(self, actual: Version) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual == Version::ZERO,
            Self::Exists => actual > Version::ZERO,
            Self::Exact(expected) => actual == expected,
        }
    }

    /// Returns whether [`accepts`](Self::accepts) holds and the last event of the stream is the one that the decision
    /// was based on.
    ///
    /// `decided_after` is the ID of the last event that the caller had seen. A version alone cannot distinguish a
    /// stream from another one that replaced it after a restored backup or a lost tail. The event ID can.
    pub fn check(self, decided_after: Option<Uuid>, actual: Version, last_event: Option<Uuid>) -> bool {
        self.accepts(actual) && (decided_after.is_none() || decided_after == last_event)
    }
}

impl std::fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no stream"),
            Self::Exists => f.write_str("an existing stream"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expectation_accepts_exactly_its_versions() {
        use ExpectedVersion::*;
        let accepted =
            |expected: ExpectedVersion| -> Vec<u64> { (0..4).filter(|&v| expected.accepts(Version::new(v))).collect() };
        assert_eq!(accepted(Any), [0, 1, 2, 3]);
        assert_eq!(accepted(NoStream), [0]);
        assert_eq!(accepted(Exists), [1, 2, 3]);
        assert_eq!(accepted(Exact(Version::new(2))), [2]);
        assert_eq!(accepted(Exact(Version::ZERO)), [0]);
    }

    #[test]
    fn the_right_version_with_another_last_event_is_refused() {
        let (seen, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let expected = ExpectedVersion::Exact(Version::new(1));
        assert!(expected.check(Some(seen), Version::new(1), Some(seen)));
        assert!(!expected.check(Some(seen), Version::new(1), Some(other)));
        assert!(!expected.check(Some(seen), Version::new(1), None));
        assert!(expected.check(None, Version::new(1), Some(other)));
    }
}
