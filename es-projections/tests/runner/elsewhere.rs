//! What a process says about consumers that it does not run, and what a running one tells the log.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use es_core::{ConsumerName, LeaseStore, MemoryStore};
use es_projections::{ConsumerOptions, ConsumerState, Runner, Verdict};
use es_testkit::bank::Balance;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{spy_store::SpyStore, support::*};

const LEASE: Duration = Duration::from_millis(400);

fn runner(store: &SpyStore) -> Runner {
    let builder = Runner::builder(store).lease_time(LEASE).view::<Balance>();
    builder.reactor_with(Mailer::new(), ConsumerOptions::default().partitions(3)).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_runs_nothing_says_who_does_and_since_when_and_that_all_is_well() {
    let store = SpyStore::default();
    let (runs, looks_on) = (runner(&store), runner(&store));
    assert_eq!(looks_on.health().await.unwrap().verdict, Verdict::Degraded);
    let running = Running::start(&runs);
    let last = deposit(&store, "ann", 1).await;
    for consumer in ["balance", "mailer"] {
        looks_on.wait_for(consumer, last, STALL).await.unwrap();
        let status = status_of(&looks_on, consumer).await;
        let holder = status.holder.clone().unwrap();
        assert!(matches!(&status.state, ConsumerState::RunsElsewhere { by } if *by == holder.owner), "{status}");
        assert!(
            status.to_string().contains(&format!("runs elsewhere: {}, which has had its lease since", holder.owner))
        );
        assert_eq!((status.position, status.lag), (last, 0));
        assert_eq!(status_of(&runs, consumer).await.holder.unwrap().owner, holder.owner);
    }
    let partitions = status_of(&looks_on, "mailer").await.partitions;
    assert_eq!(partitions.len(), 3);
    assert!(partitions.iter().all(|it| matches!(it.state, ConsumerState::RunsElsewhere { .. }) && it.holder.is_some()));
    assert_eq!(looks_on.health().await.unwrap().verdict, Verdict::Ready);
    running.stop().await.unwrap();
    let status = status_of(&looks_on, "balance").await;
    assert!(matches!(status.state, ConsumerState::NotRunning) && status.holder.is_none(), "{status}");
    assert_eq!(looks_on.health().await.unwrap().verdict, Verdict::Degraded);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_nobody_runs_is_what_the_status_of_the_consumer_says() {
    let store = SpyStore::default();
    let runner = runner(&store);
    deposit(&store, "ann", 1).await;
    runner.catch_up().await.unwrap();
    for index in [0, 2] {
        let name = ConsumerName::parse(&format!("mailer#{index}of3")).unwrap();
        store.claim_lease(&name, "another process", Duration::from_secs(600)).await.unwrap();
    }
    let status = status_of(&runner, "mailer").await;
    assert!(matches!(status.state, ConsumerState::NotRunning), "{status}");
    let states: Vec<_> = status.partitions.iter().map(|partition| partition.state.label()).collect();
    assert_eq!(states, ["runs elsewhere", "not running", "runs elsewhere"]);
}

#[tokio::test(start_paused = true)]
async fn status_and_health_are_serialized_for_machines() {
    let store = SpyStore::default();
    let builder = Runner::builder(&store).reactor_with(Mailer::with(Trouble::at(1, How::Error)), retries(0));
    let runner = builder.view::<Balance>().build().unwrap();
    deposit(&store, "ann", 1).await;
    runner.catch_up().await.unwrap_err();
    let json = serde_json::to_value(runner.status().await.unwrap()).unwrap();
    assert_eq!(json[0]["name"], "mailer");
    assert_eq!((&json[0]["kind"], &json[0]["state"]["name"]), (&"reactor".into(), &"stopped".into()));
    let error = json[0]["state"]["error"].as_str().unwrap();
    assert!(error.contains("mailer stopped at the event at position 1") && error.ends_with("no room"), "{error}");
    assert_eq!(json[0]["last_error"]["event"], 1);
    assert_eq!((&json[1]["position"], &json[1]["lag"]), (&1.into(), &0.into()));
    assert_eq!(json[1]["state"]["name"], "not_running");
    assert!(json[1]["updated_at"].as_str().unwrap().ends_with('Z'));
    let json = serde_json::to_value(runner.health().await.unwrap()).unwrap();
    assert_eq!((&json["verdict"], &json["reasons"][0]["consumer"]), (&"stalled".into(), &"mailer".into()));
}

/// Keeps the lines of the log from the level `info` on.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_healthy_runner_tells_the_log_of_each_change_once_and_of_nothing_else() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let store = MemoryStore::new();
    let of = || Runner::builder(&store).reactor(Mailer::new()).build().unwrap();
    let (first, second) = (of(), of());
    let running = Running::start(&first);
    for _ in 0..20 {
        let last = deposit(&store, "ann", 1).await;
        first.wait_for("mailer", last, STALL).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(lines.take(), ["runner started", "working for the consumer from now on", "caught up"]);
    running.stop().await.unwrap();
    assert_eq!(lines.take(), ["no longer followed", "runner stopped"]);
    store.claim_lease(&name("mailer"), "another process", Duration::from_secs(600)).await.unwrap();
    let running = Running::start(&second);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(lines.take(), ["runner started", "another process works for the consumer"]);
    store.deregister("another process").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(lines.take(), ["working for the consumer from now on", "caught up"]);
    running.stop().await.unwrap();
}
