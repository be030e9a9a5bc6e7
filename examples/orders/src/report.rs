//! What a service says while it runs: a line when something has changed, at most one a second.

use std::time::Duration;

use es_messaging::{BreakerState, ConsumerMonitor, ConsumerState, RelayMonitor};
use es_projections::Runner;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How far the relay is. Never ends.
pub async fn publishing(runner: &Runner, monitor: &RelayMonitor) {
    let (mut ticks, mut said) = (every_second(), None);
    loop {
        ticks.tick().await;
        let Some(relay) = runner.status().await.ok().and_then(|all| all.into_iter().next()) else { continue };
        let broker = monitor.status();
        let is_left_alone = broker.breaker != BreakerState::Closed;
        let news = (relay.position, relay.head, relay.state.label(), broker.unconfirmed, is_left_alone);
        if said == Some(news) || relay.head.get() == 0 {
            continue;
        }
        let mut line = format!("{} of {} orders are published: {}", relay.position, relay.head, relay.state);
        let was_unconfirmed = said.map_or(0, |(.., unconfirmed, _)| unconfirmed) != broker.unconfirmed;
        if let Some(error) = broker.last_error.filter(|_| was_unconfirmed || is_left_alone) {
            line.push_str(&format!("; the broker did not confirm all: {}", error.error));
        }
        say!("{line}");
        said = Some(news);
    }
}

/// What the consumer has done. Never ends.
pub async fn shipping(monitor: &ConsumerMonitor) {
    let (mut ticks, mut said) = (every_second(), None);
    loop {
        ticks.tick().await;
        let status = monitor.status();
        let counts = (status.handled, status.duplicates, status.dead, status.retried);
        let news = (counts, status.state.label());
        if said.as_ref() == Some(&news) {
            continue;
        }
        let (handled, duplicates, dead, retried) = counts;
        let mut line = format!("{}: {handled} orders shipped, {duplicates} were known already", status.state);
        if retried + dead > 0 {
            line.push_str(&format!(", {retried} attempts failed, {dead} dead letters"));
        }
        let has_failed =
            said.is_some_and(|((_, _, dead_then, retried_then), _)| (dead, retried) != (dead_then, retried_then));
        if let Some(error) = status.last_error.filter(|_| has_failed || status.state != ConsumerState::Running) {
            line.push_str(&format!("; last error: {error}"));
        }
        say!("{line}");
        said = Some(news);
    }
}

fn every_second() -> Interval {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
