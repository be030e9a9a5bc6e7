//! Times as stores keep them: microseconds since 1970-01-01T00:00:00Z.

use time::OffsetDateTime;

/// The time as whole microseconds since the Unix epoch; what is finer is cut off.
pub fn unix_micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or(i64::MAX)
}

/// The time of this many microseconds since the Unix epoch, in UTC; `None` outside the years -9999 to 9999.
///
/// ```
/// use es_core::timestamp::{from_unix_micros, unix_micros};
/// let time = from_unix_micros(1_700_000_000_123_456).unwrap();
/// assert_eq!(unix_micros(time), 1_700_000_000_123_456);
/// ```
pub fn from_unix_micros(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()
}

/// The same time in UTC, cut to whole microseconds: what a store gives back for it.
pub fn to_stored_precision(time: OffsetDateTime) -> OffsetDateTime {
    from_unix_micros(unix_micros(time)).unwrap_or(time)
}
