//! Times as stores keep them, in microseconds since 1970-01-01T00:00:00Z, and as text for people.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::limits;

/// Returns the time in whole microseconds since the Unix epoch. Finer digits are cut off.
pub fn unix_micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or(i64::MAX)
}

/// Returns the time of this many microseconds since the Unix epoch, in UTC, or `None` outside the years -9999 to 9999.
///
/// ```
/// use es_core::timestamp::{from_unix_micros, unix_micros};
/// let time = from_unix_micros(1_700_000_000_123_456).unwrap();
/// assert_eq!(unix_micros(time), 1_700_000_000_123_456);
/// ```
pub fn from_unix_micros(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()
}

/// Formats a time according to RFC 3339, for texts that people read. RFC 3339 has only years of four digits; other
/// years are written in the format of the crate `time`.
///
/// ```
/// use es_core::timestamp::{from_unix_micros, rfc3339};
/// assert_eq!(rfc3339(from_unix_micros(1_500_000).unwrap()), "1970-01-01T00:00:01.5Z");
/// ```
pub fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}

/// Returns the time in UTC, cut to whole microseconds, which is what a store returns for it.
pub fn to_stored_precision(time: OffsetDateTime) -> OffsetDateTime {
    from_unix_micros(unix_micros(time)).unwrap_or(time)
}

/// Returns whether every store can keep this time: from the year [`limits::MIN_OCCURRED_YEAR`] to 9999, in UTC.
pub(crate) fn is_storable(time: OffsetDateTime) -> bool {
    time.checked_to_offset(UtcOffset::UTC).is_some_and(|time| time.year() >= limits::MIN_OCCURRED_YEAR)
}
