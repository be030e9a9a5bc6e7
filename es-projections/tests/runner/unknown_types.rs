//! Old and new code side by side: old code meets events of types that only newer code knows.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use es_core::{
    ConsumerStoreExt, Coverage, DocumentAction, DomainEvent, HandlerError, MemoryStore, MemoryTables, Position,
    Projection, Reactor, Recorded, View,
};
use es_projections::{
    ConsumerOptions, ConsumerState, FailurePolicy, RebuildOptions, Runner, RunnerError, StartFrom, Subscription,
    SubscriptionError, UnknownEventTypes, Verdict, Verification,
};
use serde::{Deserialize, Serialize};

use crate::support::*;

const LEASE: Duration = Duration::from_millis(400);

/// What a release knows of orders.
trait Release: DomainEvent {
    fn cents(&self) -> i64;
}

#[derive(Serialize, Deserialize)]
enum Old {
    Placed { cents: i64 },
}

#[derive(Serialize, Deserialize)]
enum New {
    Placed { cents: i64 },
    Refunded { cents: i64 },
}

/// What knows one type on purpose.
#[derive(Serialize, Deserialize)]
enum Part {
    Placed { cents: i64 },
}

impl DomainEvent for Old {
    const CATEGORY: &'static str = "order";
}

impl DomainEvent for New {
    const CATEGORY: &'static str = "order";
}

impl DomainEvent for Part {
    const CATEGORY: &'static str = "order";
    const COVERAGE: Coverage = Coverage::Part;
}

impl Release for Old {
    fn cents(&self) -> i64 {
        let Self::Placed { cents } = self;
        *cents
    }
}

impl Release for New {
    fn cents(&self) -> i64 {
        match self {
            Self::Placed { cents } => *cents,
            Self::Refunded { cents } => -cents,
        }
    }
}

impl Release for Part {
    fn cents(&self) -> i64 {
        let Self::Placed { cents } = self;
        *cents
    }
}

/// Notes who reacted to which event.
#[derive(Clone, Default)]
struct Mails(Arc<Mutex<Vec<(&'static str, u64)>>>);

impl Mails {
    fn sent(&self) -> Vec<(&'static str, u64)> {
        let mut sent = self.0.lock().unwrap().clone();
        sent.sort_by_key(|&(_, position)| position);
        sent
    }
}

struct Mailer<E>(&'static str, Mails, std::marker::PhantomData<E>);

impl<E: Release> Mailer<E> {
    fn of(release: &'static str, mails: &Mails) -> Self {
        Self(release, mails.clone(), std::marker::PhantomData)
    }
}

impl<E: Release> Reactor for Mailer<E> {
    type Event = E;

    fn name(&self) -> &str {
        "mailer"
    }

    async fn react(&self, event: &Recorded<E>) -> Result<(), HandlerError> {
        self.1.0.lock().unwrap().push((self.0, event.position().get()));
        Ok(())
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Sales {
    cents: i64,
}

macro_rules! sales {
    ($name:ident, $event:ty) => {
        #[derive(Default, Serialize, Deserialize)]
        struct $name(Sales);

        impl View for $name {
            const NAME: &'static str = "sales";
            type Event = $event;

            fn keys(_: &Recorded<$event>) -> Vec<String> {
                vec!["all".to_owned()]
            }

            fn apply(&mut self, event: &Recorded<$event>) -> DocumentAction {
                self.0.cents += event.event.cents();
                DocumentAction::Keep
            }
        }
    };
}
sales!(OldSales, Old);
sales!(NewSales, New);

struct Totals<E>(std::marker::PhantomData<E>);

impl<E: Release> Projection for Totals<E> {
    type Connection = MemoryTables;
    type Event = E;

    fn name(&self) -> &str {
        "totals"
    }

    async fn apply(&self, tables: &mut MemoryTables, event: &Recorded<E>) -> Result<(), HandlerError> {
        let total = tables.table("totals").entry("all".to_owned()).or_insert_with(|| 0.into());
        *total = (total.as_i64().unwrap_or(0) + event.event.cents()).into();
        Ok(())
    }

    async fn clear(&self, tables: &mut MemoryTables) -> Result<(), HandlerError> {
        tables.table("totals").clear();
        Ok(())
    }
}

async fn placed(store: &MemoryStore, id: &str) -> Position {
    append(store, "order", id, "Placed", r#"{"cents":100}"#.to_owned()).await
}

async fn refunded(store: &MemoryStore, id: &str) -> Position {
    append(store, "order", id, "Refunded", r#"{"cents":100}"#.to_owned()).await
}

fn mailer_runner<E: Release>(
    store: &MemoryStore,
    release: &'static str,
    mails: &Mails,
    options: ConsumerOptions,
) -> Runner {
    let builder = Runner::builder(store).lease_time(LEASE);
    builder.reactor_with(Mailer::<E>::of(release, mails), options).build().unwrap()
}

async fn sales(store: &MemoryStore) -> i64 {
    store.view::<NewSales>().get("all").await.unwrap().unwrap().0.cents
}

#[tokio::test(start_paused = true)]
async fn old_code_stops_before_an_event_that_only_newer_code_knows_and_newer_code_goes_on_from_there() {
    let (store, mails) = (MemoryStore::new(), Mails::default());
    let old = Runner::builder(&store)
        .view::<OldSales>()
        .projection(Totals::<Old>(std::marker::PhantomData))
        .reactor(Mailer::<Old>::of("old", &mails))
        .build()
        .unwrap();
    let new = Runner::builder(&store)
        .view::<NewSales>()
        .projection(Totals::<New>(std::marker::PhantomData))
        .reactor(Mailer::<New>::of("new", &mails))
        .build()
        .unwrap();
    placed(&store, "1").await;
    noise(&store, 2).await;
    refunded(&store, "1").await;
    placed(&store, "2").await;
    let error = old.catch_up().await.unwrap_err();
    assert!(
        matches!(&error, RunnerError::UnknownType { event, category, event_type, .. }
            if event.get() == 4 && category == "order" && event_type == "Refunded"),
        "{error}"
    );
    for status in old.status().await.unwrap() {
        assert!(status.position < position(4) && status.lag > 0, "{status}");
        assert!(matches!(status.state, ConsumerState::Stopped { .. }), "{status}");
    }
    assert_eq!(sales(&store).await, 100);
    new.catch_up().await.unwrap();
    assert_eq!(sales(&store).await, 100);
    assert_eq!(store.tables().await.table("totals")["all"], 100);
    assert_eq!(mails.sent(), [("old", 1), ("new", 4), ("new", 5)]);
    // What newer code has passed is not old code's to refuse.
    placed(&store, "3").await;
    old.catch_up().await.unwrap();
    assert_eq!(mails.sent().last(), Some(&("old", 6)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_consumer_is_handed_to_the_process_that_knows_the_type_and_comes_back_when_that_one_stops() {
    let (store, mails) = (MemoryStore::new(), Mails::default());
    let old = mailer_runner::<Old>(&store, "old", &mails, ConsumerOptions::default());
    let new = mailer_runner::<New>(&store, "new", &mails, ConsumerOptions::default());
    let running_old = Running::start(&old);
    placed(&store, "1").await;
    old.wait_for("mailer", position(1), STALL).await.unwrap();
    refunded(&store, "1").await;
    placed(&store, "2").await;
    until("the old code waits", async || {
        matches!(status_of(&old, "mailer").await.state, ConsumerState::WaitingForCode { event, .. } if event.get() == 2)
    })
    .await;
    let status = status_of(&old, "mailer").await.to_string();
    assert!(status.contains(r#"waiting for newer code: the type "Refunded" of the category "order" at position 2"#));
    assert_eq!(old.health().await.unwrap().verdict, Verdict::Degraded);
    let running_new = Running::start(&new);
    new.wait_for("mailer", position(3), STALL).await.unwrap();
    until("the old code leaves it to the new", async || {
        matches!(status_of(&old, "mailer").await.state, ConsumerState::RunsElsewhere { .. })
    })
    .await;
    assert_eq!(old.health().await.unwrap().verdict, Verdict::Ready);
    running_new.stop().await.unwrap();
    placed(&store, "3").await;
    old.wait_for("mailer", position(4), STALL).await.unwrap();
    running_old.stop().await.unwrap();
    assert_eq!(mails.sent(), [("old", 1), ("new", 2), ("new", 3), ("old", 4)]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_type_is_neither_retried_nor_parked() {
    let (store, mails) = (MemoryStore::new(), Mails::default());
    let options = ConsumerOptions::default().on_failure(FailurePolicy::park_after(0));
    let old = mailer_runner::<Old>(&store, "old", &mails, options);
    refunded(&store, "1").await;
    placed(&store, "2").await;
    assert!(matches!(old.catch_up().await, Err(RunnerError::UnknownType { .. })));
    assert_eq!(status_of(&old, "mailer").await.parked.keys, 0);
    assert_eq!((mails.sent(), checkpoint(&store, "mailer").await), (vec![], Some(0)));
}

#[tokio::test(start_paused = true)]
async fn where_the_options_say_so_unknown_types_are_passed_over_and_counted() {
    for partitions in [1, 4] {
        let (store, mails) = (MemoryStore::new(), Mails::default());
        let options = pages_of(3).unknown_event_types(UnknownEventTypes::PassOver).partitions(partitions);
        let old = mailer_runner::<Old>(&store, "old", &mails, options);
        for id in ["1", "2", "3", "4"] {
            placed(&store, id).await;
            refunded(&store, id).await;
        }
        old.catch_up().await.unwrap();
        let status = status_of(&old, "mailer").await;
        assert_eq!((status.position, status.passed_over), (position(8), 4), "{status}");
        assert!(status.to_string().contains("passed over 4 event(s) of unknown types"), "{status}");
        assert_eq!(mails.sent().iter().map(|&(_, position)| position).collect::<Vec<_>>(), [1, 3, 5, 7]);
    }
}

#[tokio::test(start_paused = true)]
async fn every_partition_stops_before_an_unknown_type_since_nobody_can_tell_its_key() {
    let (store, mails) = (MemoryStore::new(), Mails::default());
    let options = ConsumerOptions::default().partitions(4);
    let old = mailer_runner::<Old>(&store, "old", &mails, options);
    for n in 0..10 {
        placed(&store, &n.to_string()).await;
    }
    refunded(&store, "1").await;
    for n in 0..10 {
        placed(&store, &n.to_string()).await;
    }
    let error = old.catch_up().await.unwrap_err();
    assert!(matches!(&error, RunnerError::UnknownType { event, .. } if event.get() == 11), "{error}");
    let status = status_of(&old, "mailer").await;
    assert!(status.partitions.iter().all(|partition| partition.position < position(11)), "{status:?}");
    assert_eq!(mails.sent(), (1..=10).map(|position| ("old", position)).collect::<Vec<_>>());
    mailer_runner::<New>(&store, "new", &mails, ConsumerOptions::default()).catch_up().await.unwrap();
    let expected = (1..=21).map(|position| (if position < 11 { "old" } else { "new" }, position));
    assert_eq!(mails.sent(), expected.collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_by_old_code_fails_before_the_event_and_leaves_the_live_read_model_as_it_is() {
    let store = MemoryStore::new();
    placed(&store, "1").await;
    refunded(&store, "1").await;
    placed(&store, "2").await;
    Runner::builder(&store).view::<NewSales>().build().unwrap().catch_up().await.unwrap();
    let old = Runner::builder(&store).view::<OldSales>().build().unwrap();
    for verification in [Verification::Skip, Verification::MustMatch] {
        let error = old.rebuild_beside("sales", RebuildOptions::by("old").verify(verification), |_| {}).await;
        assert!(matches!(error, Err(RunnerError::UnknownType { .. })), "{error:?}");
    }
    assert_eq!(sales(&store).await, 100);
}

#[tokio::test(start_paused = true)]
async fn an_enum_that_covers_part_of_its_category_on_purpose_moves_past_the_rest() {
    let (store, mails) = (MemoryStore::new(), Mails::default());
    let part = mailer_runner::<Part>(&store, "part", &mails, ConsumerOptions::default());
    placed(&store, "1").await;
    refunded(&store, "1").await;
    placed(&store, "2").await;
    part.catch_up().await.unwrap();
    let status = status_of(&part, "mailer").await;
    assert_eq!((status.position, status.passed_over), (position(3), 0));
    assert_eq!(mails.sent(), [("part", 1), ("part", 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_before_an_unknown_type_unless_it_is_to_pass_over_it() {
    let store = MemoryStore::new();
    placed(&store, "1").await;
    refunded(&store, "1").await;
    placed(&store, "2").await;
    let mut strict = Subscription::builder(&store).subscribe_to::<Old>().await.unwrap();
    assert_eq!(strict.next().await.unwrap().unwrap().position(), position(1));
    assert!(matches!(strict.next().await, Some(Err(SubscriptionError::Decode(_)))));
    assert_eq!(strict.position(), position(1));
    let again = Subscription::builder(&store).start_from(StartFrom::After(strict.position()));
    let mut newer = again.subscribe_to::<New>().await.unwrap();
    assert_eq!(newer.next().await.unwrap().unwrap().position(), position(2));
    let lenient = Subscription::builder(&store).unknown_event_types(UnknownEventTypes::PassOver);
    let mut lenient = lenient.subscribe_to::<Old>().await.unwrap();
    for expected in [1, 3] {
        assert_eq!(lenient.next().await.unwrap().unwrap().position(), position(expected));
    }
}
