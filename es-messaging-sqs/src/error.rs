//! What the services say, in the words of brokers.

use std::{error::Error, io};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use es_core::{BoxError, DeadReason};
use es_messaging::{BrokerError, PublishError};

/// The name of this broker.
pub(crate) const SQS: &str = "sqs";

/// What kind of refusal a code of the services is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Denied,
    Missing,
    Throttled,
    /// This message, for ever.
    Invalid,
    /// A receipt whose time is over.
    Stale,
    Other,
}

/// The kind of a code. The two services have several names for the same thing, old and new.
pub(crate) fn kind(code: &str) -> Kind {
    let code = code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code);
    match code {
        "AccessDenied"
        | "AccessDeniedException"
        | "AuthorizationError"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSecurity"
        | "MissingAuthenticationToken"
        | "NotAuthorized"
        | "OptInRequired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Kind::Denied,
        "NonExistentQueue" | "QueueDoesNotExist" | "NotFound" | "NotFoundException" => Kind::Missing,
        "OverLimit"
        | "RequestThrottled"
        | "Throttled"
        | "ThrottledException"
        | "Throttling"
        | "ThrottlingException"
        | "KmsThrottled"
        | "TooManyRequestsException"
        | "RequestLimitExceeded" => Kind::Throttled,
        "InvalidMessageContents"
        | "InvalidParameter"
        | "InvalidParameterException"
        | "InvalidParameterValue"
        | "InvalidParameterValueException"
        | "MessageTooLong"
        | "ValidationException" => Kind::Invalid,
        "MessageNotInflight" | "ReceiptHandleIsInvalid" => Kind::Stale,
        _ => Kind::Other,
    }
}

/// The code of an error of a service, if it was one.
pub(crate) fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// An error of a call about `what`.
pub(crate) fn broker_error<E>(what: &str, error: SdkError<E>) -> BrokerError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let said = |code: &str, error: &E| format!("{code}: {}", error.message().unwrap_or("it says no more"));
    if let Some(service) = error.as_service_error() {
        let code = service.code().unwrap_or("an error without a code");
        let reason = said(code, service);
        return match kind(code) {
            Kind::Denied => BrokerError::Denied { broker: SQS, reason },
            Kind::Missing => BrokerError::Missing {
                broker: SQS,
                what: what.to_owned(),
                reason: format!("{reason} (declare it, or correct the prefix)"),
            },
            _ => BrokerError::Unavailable { broker: SQS, source: reason.into() },
        };
    }
    let text = with_causes(&error);
    let causes = || causes(&error);
    if causes().any(is_tls) {
        return BrokerError::Tls { broker: SQS, reason: text };
    }
    if causes().any(|cause| cause.is::<CredentialsError>()) {
        let reason = format!("{text} (give credentials in the URL, the environment, a profile or the machine's role)");
        return BrokerError::Denied { broker: SQS, reason };
    }
    match error {
        SdkError::ConstructionFailure(_) => BrokerError::Config { what: what.to_owned(), reason: text },
        _ => BrokerError::Unavailable { broker: SQS, source: text.into() },
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        // What an error of the system wraps is not among its sources.
        let wrapped = this.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => this.source(),
        };
        Some(this)
    })
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    error.is::<rustls::Error>()
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let this = cause.to_string();
        if !text.contains(&this) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&this);
        }
    }
    text
}

/// Why a call that was to publish did not.
pub(crate) fn publish_error<E>(error: SdkError<E>) -> PublishError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match code(&error).map(kind) {
        Some(Kind::Throttled) => PublishError::Throttled { broker: SQS, after: None },
        // Neither permissions nor a missing topic are a fault of these messages: they wait until somebody mends it.
        _ => unconfirmed(broker_error("the topic", error)),
    }
}

/// Why one message of a call was not published.
pub(crate) fn entry_error(code: &str, message: Option<&str>, sender_fault: bool) -> PublishError {
    let reason = format!("{code}: {}", message.unwrap_or("it says no more"));
    match kind(code) {
        Kind::Throttled => PublishError::Throttled { broker: SQS, after: None },
        Kind::Invalid if sender_fault => PublishError::Refused { broker: SQS, kind: DeadReason::Refused, reason },
        _ => unconfirmed(reason),
    }
}

pub(crate) fn unconfirmed(source: impl Into<BoxError>) -> PublishError {
    PublishError::Unconfirmed { broker: SQS, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_services_have_their_kinds() {
        for (code, expected) in [
            ("AccessDenied", Kind::Denied),
            ("AWS.SimpleQueueService.NonExistentQueue", Kind::Missing),
            ("QueueDoesNotExist", Kind::Missing),
            ("ThrottlingException", Kind::Throttled),
            ("ReceiptHandleIsInvalid", Kind::Stale),
            ("InternalError", Kind::Other),
        ] {
            assert_eq!(kind(code), expected, "{code}");
        }
    }

    #[test]
    fn only_a_message_that_is_wrong_itself_is_refused_for_ever() {
        assert!(!entry_error("InvalidParameterValue", None, true).is_transient());
        assert!(entry_error("InternalError", None, false).is_transient());
        assert!(matches!(entry_error("Throttling", None, false), PublishError::Throttled { .. }));
    }
}
