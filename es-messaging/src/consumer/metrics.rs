//! Metrics of consumers, behind the feature `metrics`: gauges and counters for the facade crate `metrics`. The
//! application installs a recorder for them.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | [`MESSAGES`] | counter | `consumer`, `outcome` | messages: `handled`, `duplicate`, `skipped`, `expired`, `retried`, `revived` |
//! | [`DEAD`] | counter | `consumer`, `reason` | messages that became dead letters |
//! | [`IN_HAND`] | gauge | `consumer` | messages that are received and not settled |
//! | [`LAG`] | gauge | `consumer` | seconds from the recording of the last message until it took effect |
//! | [`STATE`] | gauge | `consumer`, `state` | 1 for the current state, 0 for former states |
//!
//! The number and age of dead letters, and whether there is an alert, are in
//! [`DEAD_LETTERS`](crate::metrics::DEAD_LETTERS) and the related gauges, as for relays.
//!
//! The metric names are part of the public interface and change only with it.

use std::time::Duration;

use es_core::ConsumerName;
use metrics::{counter, gauge};

use super::status::{ConsumerState, Count};

/// Messages, by outcome.
pub const MESSAGES: &str = "es_messages_received_total";
/// Messages that became dead letters.
pub const DEAD: &str = "es_messages_dead_total";
/// Messages that are received and not settled.
pub const IN_HAND: &str = "es_messages_in_hand";
/// The time in seconds from when the last message was recorded until it took effect. If the message does not state when
/// it was recorded, the time from when the event happened.
pub const LAG: &str = "es_messages_lag_seconds";
/// The state of a consumer.
pub const STATE: &str = "es_messages_consumer_state";

pub(crate) fn counted(consumer: &ConsumerName, what: Count) {
    let outcome = match what {
        Count::Handled => "handled",
        Count::Duplicate => "duplicate",
        Count::Skipped => "skipped",
        Count::Expired => "expired",
        Count::Retried => "retried",
        Count::Revived => "revived",
        Count::Dead(reason) => {
            return counter!(DEAD, "consumer" => consumer.to_string(), "reason" => reason.as_str()).increment(1);
        }
    };
    counter!(MESSAGES, "consumer" => consumer.to_string(), "outcome" => outcome).increment(1);
}

pub(crate) fn in_hand(consumer: &ConsumerName, messages: usize) {
    gauge!(IN_HAND, "consumer" => consumer.to_string()).set(messages as f64);
}

pub(crate) fn lag(consumer: &ConsumerName, lag: Duration) {
    gauge!(LAG, "consumer" => consumer.to_string()).set(lag.as_secs_f64());
}

pub(crate) fn state(consumer: &ConsumerName, before: &ConsumerState, now: &ConsumerState) {
    let gauge = |state: &ConsumerState| {
        let label = state.label().replace(' ', "_");
        gauge!(STATE, "consumer" => consumer.to_string(), "state" => label)
    };
    if before.label() != now.label() {
        gauge(before).set(0.0);
    }
    gauge(now).set(1.0);
}
