//! Times in the format of CloudEvents: RFC 3339.

use std::borrow::Cow;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::error::MalformedMessage;

/// The range of the seconds in a time such as `2026-11-30T12:00:60Z`.
const SECONDS: std::ops::Range<usize> = 17..19;

/// Parses the time in an attribute. A leap second is read as the last moment of the second before it.
///
/// # Errors
/// Returns [`MalformedMessage::Attribute`] if the text is not a valid time.
pub(crate) fn parse_time(attribute: &str, text: &str) -> Result<OffsetDateTime, MalformedMessage> {
    let is_leap = text.get(SECONDS) == Some("60");
    let mut plain = Cow::Borrowed(text);
    if is_leap {
        plain.to_mut().replace_range(SECONDS, "59");
    }
    let time = OffsetDateTime::parse(&plain, &Rfc3339).ok();
    let time = if is_leap { time.and_then(|time| time.replace_nanosecond(999_999_999).ok()) } else { time };
    time.ok_or_else(|| MalformedMessage::Attribute {
        attribute: attribute.to_owned(),
        reason: "it is not a time as RFC 3339 has it".to_owned(),
    })
}

/// Formats a time; `None` if it is after the year 9999 or before the year 0.
pub(crate) fn format_time(time: OffsetDateTime) -> Option<String> {
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_of_rfc_3339_are_read() {
        for (text, time) in [
            ("2026-11-30T12:00:00Z", datetime!(2026-11-30 12:00:00 UTC)),
            ("2026-11-30t12:00:00.5z", datetime!(2026-11-30 12:00:00.5 UTC)),
            ("2026-11-30T12:00:00.123456789+02:00", datetime!(2026-11-30 12:00:00.123456789 +02:00)),
            ("2016-12-31T23:59:60Z", datetime!(2016-12-31 23:59:59.999999999 UTC)),
            ("2016-12-31T15:59:60.25-08:00", datetime!(2016-12-31 15:59:59.999999999 -08:00)),
            ("2026-11-30T12:34:60Z", datetime!(2026-11-30 12:34:59.999999999 UTC)),
        ] {
            assert_eq!(parse_time("time", text).unwrap(), time, "{text}");
        }
        for wrong in [
            "",
            "noon",
            "2026-11-30",
            "2026-11-30T12:00:00",
            "2026-11-30T12:00:61Z",
            "2026-13-30T12:00:60Z",
            "ö".repeat(20).as_str(),
        ] {
            let error = parse_time("time", wrong).unwrap_err();
            assert!(error.to_string().contains("RFC 3339"), "{wrong}: {error}");
        }
    }
}
