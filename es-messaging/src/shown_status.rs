//! Serialized statuses: times are RFC 3339, and durations are in seconds.

use serde::{Serialize, Serializer, ser::SerializeStruct};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    circuit_breaker::BreakerState,
    consumer::{ConsumerState, ConsumerStatus},
    relay_monitor::{LastError, OutboxWork, RelayStatus},
};

/// Formats a time; `None` if RFC 3339 cannot represent it.
fn shown(time: OffsetDateTime) -> Option<String> {
    time.format(&Rfc3339).ok()
}

/// A name for a state, and its details.
#[derive(Serialize)]
struct State {
    is: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Serialize for BreakerState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for LastError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("LastError", 2)?;
        fields.serialize_field("at", &shown(self.at))?;
        fields.serialize_field("error", &self.error)?;
        fields.end()
    }
}

impl Serialize for OutboxWork {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let detail = match self {
            Self::Suspended(suspension) => Some(suspension.to_string()),
            Self::Elsewhere { owner } => Some(owner.clone()),
            _ => None,
        };
        State { is: self.label(), detail }.serialize(serializer)
    }
}

impl Serialize for RelayStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Outbox {
            waiting: u64,
            oldest: Option<String>,
            delayed: u64,
            bytes: u64,
        }
        let outbox = self.outbox.as_ref().map(|stats| Outbox {
            waiting: stats.waiting,
            oldest: stats.oldest.and_then(shown),
            delayed: stats.delayed,
            bytes: stats.bytes,
        });
        let mut fields = serializer.serialize_struct("RelayStatus", 10)?;
        fields.serialize_field("consumer", self.consumer.as_str())?;
        fields.serialize_field("breaker", &self.breaker)?;
        fields.serialize_field("breaker_seconds", &self.since.elapsed().as_secs_f64())?;
        fields.serialize_field("published", &self.published)?;
        fields.serialize_field("refused", &self.refused)?;
        fields.serialize_field("unconfirmed", &self.unconfirmed)?;
        fields.serialize_field("in_flight", &self.in_flight)?;
        fields.serialize_field("last_error", &self.last_error)?;
        fields.serialize_field("outbox", &outbox)?;
        fields.serialize_field("work", &self.work)?;
        fields.end()
    }
}

impl Serialize for ConsumerState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let detail = match self {
            Self::Suspended(suspension) => Some(suspension.to_string()),
            _ => None,
        };
        State { is: self.label(), detail }.serialize(serializer)
    }
}

impl Serialize for ConsumerStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("ConsumerStatus", 13)?;
        fields.serialize_field("name", self.name.as_str())?;
        fields.serialize_field("state", &self.state)?;
        fields.serialize_field("handled", &self.handled)?;
        fields.serialize_field("duplicates", &self.duplicates)?;
        fields.serialize_field("skipped", &self.skipped)?;
        fields.serialize_field("expired", &self.expired)?;
        fields.serialize_field("retried", &self.retried)?;
        fields.serialize_field("dead", &self.dead)?;
        fields.serialize_field("revived", &self.revived)?;
        fields.serialize_field("in_hand", &self.in_hand)?;
        fields.serialize_field("lag_seconds", &self.lag.map(|lag| lag.as_secs_f64()))?;
        fields.serialize_field("last_error", &self.last_error)?;
        fields.serialize_field("last_error_at", &self.last_error_at.and_then(shown))?;
        fields.end()
    }
}
