//! Metrics of relays, of the outbox, and of dead letters, behind the feature `metrics`: gauges, counters, and a
//! histogram for the facade crate `metrics`. The application installs a recorder for them. Without the feature, metrics
//! cost nothing.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | [`PUBLISHED`] | counter | `consumer` | messages that the broker confirmed |
//! | [`REFUSED`] | counter | `consumer` | messages that became dead letters |
//! | [`UNCONFIRMED`] | counter | `consumer` | how often a message was not confirmed and had to be published again |
//! | [`BREAKER`] | gauge | `consumer` | the circuit breaker: 0 closed, 1 half open, 2 open |
//! | [`PUBLISH_SECONDS`] | histogram | `consumer` | how long a batch took to be confirmed |
//! | [`OUTBOX_WAITING`] | gauge | | messages of the outbox that could be published |
//! | [`OUTBOX_DELAYED`] | gauge | | messages of the outbox that are scheduled for later |
//! | [`OUTBOX_OLDEST_SECONDS`] | gauge | | the age of the oldest message that could be published |
//! | [`OUTBOX_BYTES`] | gauge | | the storage size of the outbox |
//! | [`DEAD_LETTERS`] | gauge | `consumer` | dead letters |
//! | [`DEAD_LETTERS_EVER`] | counter | `consumer` | all dead letters so far; the growth is their rate |
//! | [`DEAD_LETTER_OLDEST_SECONDS`] | gauge | `consumer` | the age of the oldest dead letter |
//! | [`DEAD_LETTER_ALERT`] | gauge | `consumer` | 1 while dead letters are too many or too old |
//!
//! The metrics of a relay are set after each batch. The relay that publishes the outbox sets the outbox metrics every
//! [`OUTBOX_TIDY_INTERVAL`](crate::limits::OUTBOX_TIDY_INTERVAL). Relays and consumers set the metrics of dead letters
//! every [`DEAD_LETTER_RETRY_INTERVAL`](crate::limits::DEAD_LETTER_RETRY_INTERVAL). The metric names are part of the
//! public interface and change only with it.

use std::time::Duration;

use es_core::{ConsumerName, DeadLetterTotals, OutboxStats};
use metrics::{counter, gauge, histogram};
use time::OffsetDateTime;

use crate::circuit_breaker::BreakerState;

/// Messages that the broker confirmed.
pub const PUBLISHED: &str = "es_relay_published_total";
/// Messages that became dead letters.
pub const REFUSED: &str = "es_relay_refused_total";
/// How often a message was not confirmed.
pub const UNCONFIRMED: &str = "es_relay_unconfirmed_total";
/// The state of the circuit breaker.
pub const BREAKER: &str = "es_relay_breaker";
/// How long the broker took to confirm a batch.
pub const PUBLISH_SECONDS: &str = "es_relay_publish_seconds";
/// Messages of the outbox that could be published.
pub const OUTBOX_WAITING: &str = "es_outbox_waiting";
/// Messages of the outbox that are scheduled for later.
pub const OUTBOX_DELAYED: &str = "es_outbox_delayed";
/// The age of the oldest message of the outbox.
pub const OUTBOX_OLDEST_SECONDS: &str = "es_outbox_oldest_seconds";
/// The storage size of the outbox.
pub const OUTBOX_BYTES: &str = "es_outbox_bytes";
/// Dead letters.
pub const DEAD_LETTERS: &str = "es_dead_letters";
/// All dead letters so far.
pub const DEAD_LETTERS_EVER: &str = "es_dead_letters_total";
/// The age of the oldest dead letter.
pub const DEAD_LETTER_OLDEST_SECONDS: &str = "es_dead_letter_oldest_seconds";
/// Whether dead letters are too many or too old.
pub const DEAD_LETTER_ALERT: &str = "es_dead_letter_alert";

pub(crate) fn published(consumer: &ConsumerName, messages: usize) {
    counter!(PUBLISHED, "consumer" => consumer.to_string()).increment(messages as u64);
}

pub(crate) fn refused(consumer: &ConsumerName, messages: usize) {
    counter!(REFUSED, "consumer" => consumer.to_string()).increment(messages as u64);
}

pub(crate) fn unconfirmed(consumer: &ConsumerName, messages: u64) {
    counter!(UNCONFIRMED, "consumer" => consumer.to_string()).increment(messages);
}

pub(crate) fn breaker(consumer: &ConsumerName, state: BreakerState) {
    let number = match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open { .. } => 2.0,
    };
    gauge!(BREAKER, "consumer" => consumer.to_string()).set(number);
}

pub(crate) fn latency(consumer: &ConsumerName, took: Duration) {
    histogram!(PUBLISH_SECONDS, "consumer" => consumer.to_string()).record(took.as_secs_f64());
}

pub(crate) fn outbox(stats: &OutboxStats) {
    let age = stats.oldest.map_or(0.0, |oldest| (OffsetDateTime::now_utc() - oldest).as_seconds_f64().max(0.0));
    gauge!(OUTBOX_WAITING).set(stats.waiting as f64);
    gauge!(OUTBOX_DELAYED).set(stats.delayed as f64);
    gauge!(OUTBOX_OLDEST_SECONDS).set(age);
    gauge!(OUTBOX_BYTES).set(stats.bytes as f64);
}

pub(crate) fn dead_letters(totals: &DeadLetterTotals, now: OffsetDateTime, is_alert: bool) {
    let consumer = totals.consumer.to_string();
    let age = totals.oldest.map_or(0.0, |oldest| (now - oldest).as_seconds_f64().max(0.0));
    gauge!(DEAD_LETTERS, "consumer" => consumer.clone()).set(totals.depth as f64);
    counter!(DEAD_LETTERS_EVER, "consumer" => consumer.clone()).absolute(totals.ever);
    gauge!(DEAD_LETTER_OLDEST_SECONDS, "consumer" => consumer.clone()).set(age);
    gauge!(DEAD_LETTER_ALERT, "consumer" => consumer).set(f64::from(u8::from(is_alert)));
}
