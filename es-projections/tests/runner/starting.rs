use std::error::Error;

use es_core::{ConsumerStoreExt, DocumentAction, DomainEvent, Recorded, Upcasters, View};
use es_projections::{ConsumerOptions, FailurePolicy, Runner, RunnerError, StartFrom, limits};
use es_testkit::bank::Balance;

use crate::{spy_store::SpyStore, support::*};

fn start(start_from: StartFrom) -> ConsumerOptions {
    ConsumerOptions::default().start_from(start_from)
}

#[tokio::test]
async fn a_consumer_starts_from_the_beginning_a_position_or_now() {
    let store = SpyStore::default();
    deposits(&store, 10).await;
    let named = |name| Ledger { name, ..Ledger::new() };
    let runner = Runner::builder(&store)
        .projection(named("all"))
        .projection_with(named("some"), start(StartFrom::After(position(7))))
        .projection_with(named("new"), start(StartFrom::Now))
        .build()
        .unwrap();
    runner.catch_up().await.unwrap();
    deposits(&store, 2).await;
    runner.catch_up().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "all").await, once_each(1..=12));
    assert_eq!(ledger_rows(&store.inner, "some").await, once_each(8..=12));
    assert_eq!(ledger_rows(&store.inner, "new").await, once_each(11..=12));
}

#[tokio::test]
async fn a_consumer_that_has_applied_something_goes_on_from_its_checkpoint_whatever_its_options_say() {
    let store = SpyStore::default();
    deposits(&store, 3).await;
    Runner::builder(&store).projection(Ledger::new()).build().unwrap().catch_up().await.unwrap();
    deposits(&store, 5).await;
    for start_from in [StartFrom::Now, StartFrom::After(position(6)), StartFrom::Beginning] {
        let runner = Runner::builder(&store).projection_with(Ledger::new(), start(start_from)).build().unwrap();
        runner.catch_up().await.unwrap();
        assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=8), "{start_from:?}");
    }
}

#[tokio::test]
async fn a_start_beyond_the_end_of_the_log_is_refused_and_leaves_no_checkpoint() {
    let store = SpyStore::default();
    deposits(&store, 3).await;
    let options = start(StartFrom::After(position(4)));
    let runner = Runner::builder(&store).view_with::<Balance>(options).build().unwrap();
    let error = runner.catch_up().await.unwrap_err();
    assert!(matches!(&error, RunnerError::StartBeyondHead { start, head, .. } if (start.get(), head.get()) == (4, 3)));
    assert_eq!(checkpoint(&store, "balance").await, None);
    deposits(&store, 1).await;
    runner.catch_up().await.unwrap();
    assert_eq!(checkpoint(&store, "balance").await, Some(4));
}

#[tokio::test]
async fn a_checkpoint_beyond_the_end_of_the_log_is_an_error_that_says_what_to_do() {
    let store = SpyStore::default();
    deposits(&store, 9).await;
    let runner = Runner::builder(&store).view::<Balance>().projection(Ledger::new()).build().unwrap();
    runner.catch_up().await.unwrap();
    // A backup was restored.
    store.seen.head.store(5, std::sync::atomic::Ordering::SeqCst);
    for result in [runner.catch_up().await, Running::start(&runner).ended().await] {
        let error = result.unwrap_err();
        let RunnerError::CheckpointBeyondHead { consumer, checkpoint, head } = &error else { panic!("{error:?}") };
        // The first that stopped, of a run.
        assert!(["balance", "ledger"].contains(&consumer.as_str()), "{consumer}");
        assert_eq!((checkpoint.get(), head.get()), (9, 5));
        let said = error.to_string();
        assert!(said.contains("restored to an earlier state") && said.contains("rebuild the read model"), "{said}");
    }
    let status = status_of(&runner, "balance").await.to_string();
    assert!(status.contains("at 9 of 5") && status.contains("stopped") && status.contains("rebuild it"), "{status}");
}

#[tokio::test]
async fn a_name_used_twice_or_a_name_that_cannot_be_used_is_an_error() {
    let store = SpyStore::default();
    let twice = Runner::builder(&store).projection(Ledger::new()).projection(Ledger::new()).build();
    assert!(matches!(twice.unwrap_err(), RunnerError::DuplicateName { name } if name.as_str() == "ledger"));
    let as_the_view = Ledger { name: "balance", ..Ledger::new() };
    let twice = Runner::builder(&store).view::<Balance>().projection(as_the_view).build().unwrap_err();
    assert_eq!(
        twice.to_string(),
        "two consumers are called balance; they would share one checkpoint: rename one of them"
    );
    let bad = Ledger { name: "Bad name", ..Ledger::new() };
    let bad = Runner::builder(&store).projection(bad).view::<Balance>().build().unwrap_err();
    assert!(matches!(bad, RunnerError::InvalidName(_)));
}

/// A view that counts the events of an enum.
macro_rules! counting {
    ($view:ident, $event:ident { $($variant:ident),* }, $category:expr, $rules:expr) => {
        #[derive(serde::Serialize, serde::Deserialize)]
        enum $event { $($variant),* }
        impl DomainEvent for $event {
            const CATEGORY: &'static str = $category;
            fn upcasters() -> Upcasters<Self> {
                $rules
            }
        }
        #[derive(Default, serde::Serialize, serde::Deserialize)]
        struct $view {
            events: u64,
        }
        impl View for $view {
            const NAME: &'static str = "counting";
            type Event = $event;
            fn keys(_: &Recorded<$event>) -> Vec<String> {
                vec!["all".to_owned()]
            }
            fn apply(&mut self, _: &Recorded<$event>) -> DocumentAction {
                self.events += 1;
                DocumentAction::Keep
            }
        }
    };
}

#[tokio::test]
async fn events_that_can_never_be_read_are_an_error_before_anything_runs() {
    counting!(Circle, CircleEvent { Known }, "account", Upcasters::none().rename("A", "B").rename("B", "A"));
    let store = SpyStore::default();
    let error = Runner::builder(&store).view::<Circle>().build().unwrap_err();
    assert!(matches!(&error, RunnerError::Events { consumer, .. } if consumer.as_str() == "counting"), "{error}");
    assert!(error.source().unwrap().to_string().contains("lead back"));
    counting!(Misnamed, MisnamedEvent { Known }, "no category", Upcasters::none());
    let error = Runner::builder(&store).view::<Misnamed>().build().unwrap_err();
    assert!(matches!(&error, RunnerError::Filter { .. }), "{error}");
}

#[tokio::test]
async fn a_view_of_an_enum_without_variants_reads_nothing_and_one_of_very_many_reads_its_category() {
    counting!(Nothing, NoEvent {}, "account", Upcasters::none());
    let store = SpyStore::default();
    deposits(&store, 10).await;
    let runner = Runner::builder(&store).view::<Nothing>().view::<Balance>().build().unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(store.view::<Nothing>().get("all").await.unwrap().map(|view| view.events), None);
    assert_eq!(checkpoint(&store, "counting").await, Some(10));

    const TYPES: usize = es_core::limits::MAX_FILTER_SELECTORS + 1;
    counting!(Many, ManyEvent { Deposited }, "account", {
        // Types of old, as many as a filter takes.
        (0..TYPES).fold(Upcasters::none(), |rules, number| rules.retire(String::leak(format!("Old{number}"))))
    });
    let store = SpyStore::default();
    deposits(&store, 10).await;
    let runner = Runner::builder(&store).view::<Many>().build().unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(store.view::<Many>().get("all").await.unwrap().map(|view| view.events), Some(10));
}

#[tokio::test]
async fn the_limit_of_retries_is_reached_and_not_passed() {
    let store = SpyStore::default();
    let with = |retries| ConsumerOptions::default().on_failure(FailurePolicy::retry(retries));
    assert!(Runner::builder(&store).view_with::<Balance>(with(limits::MAX_RETRIES)).build().is_ok());
    let over = Runner::builder(&store).view_with::<Balance>(with(limits::MAX_RETRIES + 1)).build().unwrap_err();
    assert!(matches!(over, RunnerError::TooManyRetries { retries: 1_001, limit: 1_000, .. }));
}
