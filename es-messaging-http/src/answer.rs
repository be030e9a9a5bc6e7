//! What an answer means for a message.

use std::time::{Duration, SystemTime};

use es_core::DeadReason;
use es_messaging::PublishError;

use crate::{
    client::{HttpAnswer, HttpError},
    limits,
    webhook::NAME,
};

/// What becomes of a message, and whether the receiver is worth another request now.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) result: Result<(), PublishError>,
    pub(crate) is_away: bool,
}

pub(crate) fn outcome(answer: Result<HttpAnswer, HttpError>, now: SystemTime) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error @ HttpError::Request { .. }) => {
            return Outcome { result: Err(refused(DeadReason::Refused, error.to_string())), is_away: false };
        }
        // The connection of one request may break because of that request alone; whoever does not take connections or does not answer
        // is away for all of them.
        Err(error) => {
            let is_away = !matches!(error, HttpError::Broken { .. });
            return Outcome { result: Err(unconfirmed(error)), is_away };
        }
    };
    let after = answer.header("retry-after").and_then(|value| retry_after(value, now));
    let (result, is_away) = match answer.status {
        200..300 => (Ok(()), false),
        300..400 => {
            let reason = format!(
                "it answers {} and points elsewhere; correct the URL, redirects are not followed",
                answer.status
            );
            (Err(refused(DeadReason::Refused, reason)), false)
        }
        408 | 425 if after.is_none() => (Err(unconfirmed(Status(answer.status))), false),
        408 | 425 | 429 => (Err(PublishError::Throttled { broker: NAME, after }), true),
        404 | 410 => (Err(refused(DeadReason::Unroutable, Status(answer.status).to_string())), false),
        400..500 => (Err(refused(DeadReason::Refused, Status(answer.status).to_string())), false),
        _ if after.is_some() => (Err(PublishError::Throttled { broker: NAME, after }), true),
        status => (Err(unconfirmed(Status(status))), false),
    };
    Outcome { result, is_away }
}

/// A status that is no success.
#[derive(Debug, thiserror::Error)]
#[error("it answers {0}{name}", name = name(*.0))]
struct Status(u16);

fn name(status: u16) -> String {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    reason.map(|reason| format!(" {reason}")).unwrap_or_default()
}

pub(crate) fn refused(kind: DeadReason, reason: String) -> PublishError {
    PublishError::Refused { broker: NAME, kind, reason }
}

pub(crate) fn unconfirmed(error: impl std::error::Error + Send + Sync + 'static) -> PublishError {
    PublishError::Unconfirmed { broker: NAME, source: error.into() }
}

/// Seconds, or a date, at most [`limits::MAX_RETRY_AFTER`].
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let after = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(after.min(limits::MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn answered(status: u16, retry_after: Option<&'static str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert("retry-after", HeaderValue::from_static(value));
        }
        outcome(Ok(HttpAnswer { headers, status, body: Ok(Vec::new()) }), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn every_status_has_a_meaning() {
        for status in [200, 201, 202, 204, 299] {
            assert!(answered(status, None).result.is_ok(), "{status}");
        }
        for status in [100, 101, 408, 425, 500, 502, 503, 504, 599] {
            assert!(matches!(answered(status, None).result, Err(PublishError::Unconfirmed { .. })), "{status}");
        }
        for status in [301, 302, 307, 308, 400, 401, 403, 405, 409, 413, 415, 422, 431] {
            let Err(PublishError::Refused { kind: DeadReason::Refused, reason, .. }) = answered(status, None).result
            else {
                panic!("{status}");
            };
            assert!(reason.contains(&status.to_string()), "{reason}");
        }
        for status in [404, 410] {
            let result = answered(status, None).result;
            assert!(matches!(result, Err(PublishError::Refused { kind: DeadReason::Unroutable, .. })), "{status}");
        }
        assert!(matches!(answered(429, None).result, Err(PublishError::Throttled { after: None, .. })));
    }

    #[test]
    fn who_asks_to_wait_is_waited_for_within_the_bound() {
        let after = |status, value| match answered(status, Some(value)) {
            Outcome { result: Err(PublishError::Throttled { after, .. }), is_away: true } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(429, "7"), Some(Duration::from_secs(7)));
        assert_eq!(after(503, "7"), Some(Duration::from_secs(7)));
        assert_eq!(after(503, "Thu, 01 Jan 1970 00:01:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(after(503, "99999999999"), Some(limits::MAX_RETRY_AFTER));
        assert_eq!(after(429, "soon"), None);
        assert!(matches!(answered(503, Some("soon")).result, Err(PublishError::Unconfirmed { .. })));
    }
}
