//! What went wrong, as a status and a problem body (RFC 9457) that says what the client should do.

use std::error::Error;

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use es_core::{ExecuteError, StoreError, ViewError};
use es_projections::{RunnerError, SubscriptionError};
use serde::Serialize;

use crate::domain::AccountError;

/// How long a client should wait before it tries again.
const RETRY_AFTER_SECONDS: &str = "1";

/// An answer that is no success. 503 means: try again after `Retry-After`.
#[derive(Debug, PartialEq)]
pub(crate) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, title: &'static str, detail: impl ToString) -> Self {
        Self { status, title, detail: detail.to_string() }
    }

    pub(crate) fn bad_request(detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad request", detail)
    }

    pub(crate) fn not_found(detail: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not found", detail)
    }

    fn unavailable(title: &'static str, detail: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, title, detail)
    }

    /// What no client can mend. Its details are for the log alone.
    fn internal(error: &(dyn Error + 'static)) -> Self {
        tracing::error!(error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error", "the service's log says why")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            title: &'a str,
            status: u16,
            detail: &'a str,
        }
        let body = Body { title: self.title, status: self.status.as_u16(), detail: &self.detail };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}

impl From<ExecuteError<AccountError>> for Problem {
    fn from(error: ExecuteError<AccountError>) -> Self {
        match error {
            ExecuteError::Rejected(refusal) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", refusal),
            ExecuteError::RejectedBy { source, .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", source),
            ExecuteError::Store(error) => error.into(),
            // A text with a NUL, for example.
            ExecuteError::Encode(error) => Self::bad_request(error),
            error => Self::internal(&error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Conflict { .. } => {
                Self::new(StatusCode::CONFLICT, "conflict", "others changed the account at the same time; try again")
            }
            // As the draft on the Idempotency-Key header asks for.
            StoreError::IdReused { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency key reused",
                "the key was used for another command; use a new one for each",
            ),
            StoreError::Busy { .. } => Self::unavailable("busy", "nothing was changed; try again"),
            StoreError::Unavailable { .. } => Self::unavailable(
                "outcome unknown",
                "the request may have been carried out; send it again with the same Idempotency-Key, and it is carried out once",
            ),
            StoreError::InvalidName(_) | StoreError::LimitExceeded { .. } | StoreError::Refused { .. } => {
                Self::bad_request(error)
            }
            _ => Self::internal(&error),
        }
    }
}

/// Of a question, which changes nothing.
fn unanswered(error: &StoreError) -> Option<Problem> {
    error.is_transient().then(|| Problem::unavailable("store unavailable", "the database does not answer; try again"))
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Store(error) => unanswered(&error).unwrap_or_else(|| error.into()),
            error => Self::internal(&error),
        }
    }
}

impl From<RunnerError> for Problem {
    fn from(error: RunnerError) -> Self {
        match &error {
            RunnerError::WaitTimeout { .. } => Self::unavailable("read model behind", &error),
            RunnerError::WriteLost { .. } => Self::new(StatusCode::GONE, "write lost", &error),
            RunnerError::Store(cause) => unanswered(cause).unwrap_or_else(|| Self::internal(&error)),
            _ => Self::internal(&error),
        }
    }
}

impl From<SubscriptionError> for Problem {
    fn from(error: SubscriptionError) -> Self {
        match &error {
            SubscriptionError::PositionBeyondHead { .. } => Self::bad_request(error),
            SubscriptionError::LogWentBack { .. } => Self::new(StatusCode::GONE, "log went back", &error),
            SubscriptionError::Store(cause) => unanswered(cause).unwrap_or_else(|| Self::internal(&error)),
            _ => Self::internal(&error),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            // Here that is what the domain refuses; JSON of the wrong form is bad input.
            StatusCode::UNPROCESSABLE_ENTITY => Self::bad_request(rejection.body_text()),
            status => Self::new(status, "bad request", rejection.body_text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use es_core::{ExpectedVersion, Position, StreamId, Version};

    use super::*;

    #[test]
    fn each_error_has_the_status_that_tells_the_client_what_to_do() {
        let conflict = StoreError::Conflict {
            stream: StreamId::new("account", "ann").unwrap(),
            expected: ExpectedVersion::Any,
            actual: Version::new(3),
        };
        let corrupt = StoreError::Corrupt { position: Position::new(7), problem: "checksum".to_owned() };
        let execute_errors = [
            (ExecuteError::Rejected(AccountError::NotOpen), 422),
            (ExecuteError::Store(conflict), 409),
            (ExecuteError::Store(StoreError::IdReused { what: "idempotency key", id: "1".to_owned() }), 422),
            (ExecuteError::Store(StoreError::Busy { waiting_for: "a lock".to_owned(), source: None }), 503),
            (ExecuteError::Store(StoreError::Unavailable { source: "reset".into() }), 503),
            (ExecuteError::Store(StoreError::Refused { reason: "no" }), 400),
            (ExecuteError::Store(corrupt), 500),
        ];
        for (error, status) in execute_errors {
            let text = error.to_string();
            let problem = Problem::from(error);
            assert_eq!(problem.status.as_u16(), status, "{text}");
            assert!(status != 500 || !problem.detail.contains("checksum"), "details are for the log alone");
        }
    }
}
