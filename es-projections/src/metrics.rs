//! Metrics, behind the feature `metrics`: gauges and counters for the facade of the crate `metrics`, for which the application
//! installs a recorder. Without the feature nothing of this costs anything.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | [`POSITION`] | gauge | `consumer` | everything up to here has taken effect |
//! | [`LAG`] | gauge | `consumer` | positions that it is behind the end of the log |
//! | [`STATE`] | gauge | `consumer`, `state` | 1 for the state that it is in, 0 for those that it was in before |
//! | [`EVENTS_APPLIED`] | counter | `consumer` | events that took effect, by this runner |
//! | [`FAILURES`] | counter | `consumer` | failures, in this runner |
//! | [`REBUILD_DONE`], [`REBUILD_TOTAL`] | gauge | `consumer` | positions of a rebuild, done and to do |
//!
//! They are set every [`WATCH_INTERVAL`](crate::limits::WATCH_INTERVAL) while [`Runner::run`](crate::Runner::run) or
//! [`catch_up`](crate::Runner::catch_up) is under way, and at its end; those of a rebuild with each page. Position and lag are those of
//! consumers that run here. States are those of [`ConsumerState::label`](crate::ConsumerState::label), with `_` for spaces. The
//! names are part of the interface, and change as it does.

use std::collections::HashMap;

use es_core::{ConsumerName, Position};
use metrics::{counter, gauge};

use crate::consumer_state::ConsumerStateCell;

/// Everything up to here has taken effect.
pub const POSITION: &str = "es_consumer_position";
/// How many positions it is behind the end of the log.
pub const LAG: &str = "es_consumer_lag";
/// Which state it is in.
pub const STATE: &str = "es_consumer_state";
/// Events that took effect.
pub const EVENTS_APPLIED: &str = "es_consumer_events_applied_total";
/// Failures.
pub const FAILURES: &str = "es_consumer_failures_total";
/// Positions of a rebuild that are done.
pub const REBUILD_DONE: &str = "es_rebuild_done";
/// Positions of a rebuild in all.
pub const REBUILD_TOTAL: &str = "es_rebuild_total";

/// Tells where consumers stand, again and again.
#[derive(Default)]
pub(crate) struct Publisher {
    told: HashMap<ConsumerName, String>,
}

impl Publisher {
    /// Tells where a consumer stands, in a log that ends at `head` if that is known.
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

/// Tells how far a rebuild is.
pub(crate) fn rebuild(consumer: &ConsumerName, done: u64, total: u64) {
    gauge!(REBUILD_DONE, "consumer" => consumer.to_string()).set(done as f64);
    gauge!(REBUILD_TOTAL, "consumer" => consumer.to_string()).set(total as f64);
}
