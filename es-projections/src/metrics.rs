//! Metrics, behind the feature `metrics`: gauges and counters for the facade crate `metrics`. The application installs
//! a recorder for them. Without the feature, metrics cost nothing.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | [`POSITION`] | gauge | `consumer` | all events up to this position have taken effect |
//! | [`LAG`] | gauge | `consumer` | positions between the consumer and the end of the log |
//! | [`STATE`] | gauge | `consumer`, `state` | 1 for the current state, 0 for former states |
//! | [`EVENTS_APPLIED`] | counter | `consumer` | events that took effect, in this runner |
//! | [`FAILURES`] | counter | `consumer` | failures, in this runner |
//! | [`REBUILD_DONE`], [`REBUILD_TOTAL`] | gauge | `consumer` | positions of a rebuild: finished, and in total |
//!
//! The runner sets these metrics every [`WATCH_INTERVAL`](crate::limits::WATCH_INTERVAL) while
//! [`Runner::run`](crate::Runner::run) or [`catch_up`](crate::Runner::catch_up) is running, and when it ends. The
//! metrics of a rebuild are set after each page. Positions and lags are reported for consumers that run here. States
//! are the values of [`ConsumerState::label`](crate::ConsumerState::label), with `_` instead of spaces. The metric
//! names are part of the public interface and change only with it.

use std::collections::HashMap;

use es_core::{ConsumerName, Position};
use metrics::{counter, gauge};

use crate::consumer_state::ConsumerStateCell;

/// All events up to this position have taken effect.
pub const POSITION: &str = "es_consumer_position";
/// The number of positions between the consumer and the end of the log.
pub const LAG: &str = "es_consumer_lag";
/// The state of the consumer.
pub const STATE: &str = "es_consumer_state";
/// The number of events that took effect.
pub const EVENTS_APPLIED: &str = "es_consumer_events_applied_total";
/// The number of failures.
pub const FAILURES: &str = "es_consumer_failures_total";
/// The number of positions that a rebuild has finished.
pub const REBUILD_DONE: &str = "es_rebuild_done";
/// The total number of positions of a rebuild.
pub const REBUILD_TOTAL: &str = "es_rebuild_total";

/// Publishes the state of consumers repeatedly.
#[derive(Default)]
pub(crate) struct Publisher {
    told: HashMap<ConsumerName, String>,
}

impl Publisher {
    /// Publishes the state of a consumer. `head` is the end of the log, if known.
    pub(crate) fn publish(
        &mut self,
        consumer: &ConsumerName,
        consumer_state: &ConsumerStateCell,
        head: Option<Position>,
    ) {
        let (said, counts) = (consumer_state.snapshot(), consumer_state.counts());
        let name = consumer.to_string();
        counter!(EVENTS_APPLIED, "consumer" => name.clone()).absolute(counts.events_applied);
        counter!(FAILURES, "consumer" => name.clone()).absolute(counts.failures);
        if let Some(place) = said.place {
            gauge!(POSITION, "consumer" => name.clone()).set(place.scanned.position().get() as f64);
            if let Some(head) = head {
                gauge!(LAG, "consumer" => name.clone()).set(head.distance_from(place.scanned.position()) as f64);
            }
        }
        let state = said.state.label().replace(' ', "_");
        if let Some(before) = self.told.insert(consumer.clone(), state.clone()).filter(|before| *before != state) {
            gauge!(STATE, "consumer" => name.clone(), "state" => before).set(0.0);
        }
        gauge!(STATE, "consumer" => name, "state" => state).set(1.0);
    }
}

/// Publishes the progress of a rebuild.
pub(crate) fn rebuild(consumer: &ConsumerName, done: u64, total: u64) {
    gauge!(REBUILD_DONE, "consumer" => consumer.to_string()).set(done as f64);
    gauge!(REBUILD_TOTAL, "consumer" => consumer.to_string()).set(total as f64);
}
