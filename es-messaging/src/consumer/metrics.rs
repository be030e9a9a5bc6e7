//! Metrics of consumers, behind the feature `metrics`: gauges and counters for the facade of the crate `metrics`, for which the
//! application installs a recorder.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | [`MESSAGES`] | counter | `consumer`, `outcome` | messages: `handled`, `duplicate`, `skipped`, `expired`, `retried`, `revived` |
//! | [`DEAD`] | counter | `consumer`, `reason` | messages that became dead letters |
//! | [`IN_HAND`] | gauge | `consumer` | messages that are received and not settled |
//! | [`LAG`] | gauge | `consumer` | how long before it took effect the last message was recorded, in seconds |
//! | [`STATE`] | gauge | `consumer`, `state` | 1 for the state that it is in, 0 for those that it was in before |
//!
//! How many dead letters there are, how old, and whether that is an alert, is in
//! [`DEAD_LETTERS`](crate::metrics::DEAD_LETTERS) and the gauges beside it, as for relays.
//!
//! The names are part of the interface, and change as it does.

use std::time::Duration;

use es_core::ConsumerName;
use metrics::{counter, gauge};

use super::status::{ConsumerState, Count};

/// Messages, by what became of them.
pub const MESSAGES: &str = "es_messages_received_total";
/// Messages that became dead letters.
pub const DEAD: &str = "es_messages_dead_total";
/// Messages that are received and not settled.
pub const IN_HAND: &str = "es_messages_in_hand";
/// How long before it took effect the last message was recorded, in seconds; of one that does not say, how long before it happened.
pub const LAG: &str = "es_messages_lag_seconds";
/// Which state a consumer is in.
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
