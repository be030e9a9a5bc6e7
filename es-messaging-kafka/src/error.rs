//! What librdkafka says, in the words of brokers.

use es_core::DeadReason;
use es_messaging::{BrokerError, PublishError};
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};

/// The name of this broker.
pub(crate) const KAFKA: &str = "kafka";

/// An error of a call, with what the client has last said about its connections.
pub(crate) fn broker_error(error: KafkaError, said: Option<(Code, String)>) -> BrokerError {
    if let KafkaError::ClientConfig(_, reason, name, _) = &error {
        return BrokerError::Config { what: name.clone(), reason: config_reason(reason) };
    }
    if let KafkaError::ClientCreation(reason) = &error {
        return BrokerError::Config { what: "the connection".to_owned(), reason: config_reason(reason) };
    }
    let code = error.rdkafka_error_code();
    // A call says that nobody answers; the connections say why.
    let (code, reason) = match said {
        Some((said, reason)) if code.is_none_or(is_silence) => (Some(said), reason),
        _ => (code, error.to_string()),
    };
    match code {
        Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism) => {
            BrokerError::Denied { broker: KAFKA, reason }
        }
        Some(code) if is_denied(code) => BrokerError::Denied { broker: KAFKA, reason },
        // Some come as a lost connection.
        _ if reason.contains("SSL routines") => BrokerError::Tls { broker: KAFKA, reason },
        Some(Code::SSL) => BrokerError::Tls { broker: KAFKA, reason },
        Some(Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition) => {
            BrokerError::Missing { broker: KAFKA, what: "a topic".to_owned(), reason }
        }
        _ => BrokerError::Unavailable { broker: KAFKA, source: reason.into() },
    }
}

fn config_reason(reason: &str) -> String {
    let needs_tls = reason.contains("OpenSSL") || reason.contains("SSL support") || reason.contains("not available");
    if needs_tls && cfg!(not(feature = "tls")) {
        return format!("{reason} (build es-messaging-kafka with its feature `tls`)");
    }
    reason.to_owned()
}

/// Whether an error says no more than that nobody answered.
pub(crate) fn is_silence(code: Code) -> bool {
    matches!(code, Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::Resolve)
}

/// Whether the permissions of this user do not suffice.
pub(crate) fn is_denied(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

/// What a delivery report says of a message that was not delivered.
pub(crate) fn publish_error(code: Code, topic: &str) -> PublishError {
    let refused = |kind, reason: String| PublishError::Refused { broker: KAFKA, kind, reason };
    match code {
        Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition | Code::InvalidTopic => {
            unroutable(topic)
        }
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::PolicyViolation
        | Code::UnsupportedForMessageFormat => refused(DeadReason::Refused, format!("{code}, on topic {topic}")),
        // No fault of the message: it waits until somebody mends the permissions.
        code if is_denied(code) => {
            PublishError::Unconfirmed { broker: KAFKA, source: format!("{code}, on topic {topic}").into() }
        }
        Code::QueueFull | Code::ThrottlingQuotaExceeded => PublishError::Throttled { broker: KAFKA, after: None },
        code => PublishError::Unconfirmed { broker: KAFKA, source: code.to_string().into() },
    }
}

/// There is no such topic, and none is made by publishing.
pub(crate) fn unroutable(topic: &str) -> PublishError {
    let reason = format!("there is no topic {topic}: declare it, or correct its name");
    PublishError::Refused { broker: KAFKA, kind: DeadReason::Unroutable, reason }
}
