use es_core::RunnerStore;
use es_projections::{ConsumerState, Runner};
use es_testkit::bank::Balance;

use crate::{spy_store::SpyStore, support::*};

#[tokio::test]
async fn catch_up_applies_all_to_every_kind_of_consumer_and_twice_changes_nothing() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    deposits(&store, 25).await;
    let runner = Runner::builder(&store)
        .view_with::<Balance>(pages_of(4))
        .projection_with(Ledger::new(), pages_of(4))
        .reactor_with(mailer.clone(), pages_of(4))
        .build()
        .unwrap();
    runner.catch_up().await.unwrap();

    let all: Vec<u64> = (1..=25).collect();
    let check = async || {
        assert_eq!(balances(&store).await.iter().map(|(_, cents, _)| cents).sum::<i64>(), 25);
        assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), 25);
        assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=25));
        assert_eq!(mailer.sent(), all);
        for consumer in ["balance", "ledger", "mailer"] {
            assert_eq!(checkpoint(&store, consumer).await, Some(25), "{consumer}");
        }
    };
    check().await;
    let before = store.count(|seen| &seen.pages_applied);
    runner.catch_up().await.unwrap();
    check().await;
    assert_eq!(store.count(|seen| &seen.pages_applied), before);

    let status = status_of(&runner, "balance").await;
    assert!(matches!(status.state, ConsumerState::NotRunning));
    assert_eq!((status.position, status.head, status.lag), (position(25), position(25), 0));
}

#[tokio::test]
async fn a_catch_up_that_is_dropped_anywhere_leaves_no_half_applied_page() {
    for polls in 0.. {
        let (store, mailer) = (SpyStore::default(), Mailer::new());
        deposits(&store, 20).await;
        let builder = Runner::builder(&store).projection_with(Ledger::new(), pages_of(6));
        let builder = builder.view_with::<Balance>(pages_of(6)).reactor_with(mailer.clone(), pages_of(6));
        let runner = builder.build().unwrap();
        let dropped = drop_after(polls, runner.catch_up()).await.is_none();
        // However many events a page has: on a slow machine it has fewer.
        let events: u64 = balances(&store).await.iter().map(|(_, _, events)| events).sum();
        assert_eq!(events, checkpoint(&store, "balance").await.unwrap_or(0), "after {polls} polls");
        let reached = checkpoint(&store, "ledger").await.unwrap_or(0);
        assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=reached), "after {polls} polls");
        runner.catch_up().await.unwrap();
        assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=20), "after {polls} polls");
        assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), 20);
        assert_eq!(status_of(&runner, "ledger").await.moved_by_others, 0, "nobody else was here");
        if !dropped {
            assert!(polls > 10, "it was dropped in many places");
            assert_eq!(mailer.sent(), (1..=20).collect::<Vec<_>>());
            return;
        }
    }
}

#[tokio::test]
async fn a_long_history_is_read_and_applied_page_by_page() {
    let store = SpyStore::default();
    deposits(&store, 1_000).await;
    let builder =
        Runner::builder(&store).view_with::<Balance>(pages_of(10)).projection_with(Ledger::new(), pages_of(10));
    builder.build().unwrap().catch_up().await.unwrap();
    assert_eq!(store.count(|seen| &seen.largest_page), 10);
    assert_eq!(store.count(|seen| &seen.pages_applied), 200);
    assert_eq!(store.count(|seen| &seen.document_reads), 100, "one statement a page loads the documents");
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=1_000));
}

#[tokio::test]
async fn a_narrow_filter_advances_the_checkpoint_over_what_it_does_not_want() {
    let store = SpyStore::default();
    noise(&store, 10).await;
    deposits(&store, 1).await;
    noise(&store, 10).await;
    let runner = Runner::builder(&store).view::<Balance>().projection(Ledger::new()).reactor(Mailer::new()).build();
    let runner = runner.unwrap();
    runner.catch_up().await.unwrap();
    for consumer in ["balance", "ledger", "mailer"] {
        assert_eq!(checkpoint(&store, consumer).await, Some(21), "{consumer}");
    }
    noise(&store, 5).await;
    runner.catch_up().await.unwrap();
    for consumer in ["balance", "ledger", "mailer"] {
        assert_eq!(checkpoint(&store, consumer).await, Some(26), "{consumer}");
    }
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each([11]));
}

#[tokio::test]
async fn an_empty_store_is_caught_up_at_once_and_the_consumer_is_started() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(checkpoint(&store, "balance").await, Some(0));
    assert_eq!(status_of(&runner, "balance").await.lag, 0);
}

#[tokio::test]
async fn a_store_that_is_chosen_at_run_time_can_run_views_and_reactors() {
    let store = SpyStore::default();
    deposits(&store, 3).await;
    let mailer = Mailer::new();
    let chosen: std::sync::Arc<dyn RunnerStore> = std::sync::Arc::new(store.clone());
    let runner = Runner::builder(&chosen).view::<Balance>().reactor(mailer.clone()).build().unwrap();
    tokio::spawn(async move { runner.catch_up().await }).await.unwrap().unwrap();
    assert_eq!(balances(&store).await.len(), 3);
    assert_eq!(mailer.sent(), [1, 2, 3]);
}

#[tokio::test]
async fn a_page_that_concerns_too_many_documents_is_halved() {
    use wide::Wide;
    let store = SpyStore::default();
    deposits(&store, 40).await;
    Runner::builder(&store).view::<Wide>().build().unwrap().catch_up().await.unwrap();
    // 40 events of 1 000 documents each; at most 10 of them fit into a page.
    assert!(store.count(|seen| &seen.pages_applied) >= 4);
    assert_eq!(checkpoint(&store, "wide").await, Some(40));
    use es_core::ConsumerStoreExt;
    assert_eq!(store.view::<Wide>().get("1-0").await.unwrap(), Some(Wide { events: 1 }));
    assert_eq!(store.view::<Wide>().get("40-999").await.unwrap(), Some(Wide { events: 1 }));
}

mod wide {
    use es_core::{DocumentAction, Recorded, View};
    use es_testkit::bank::AccountEvent;

    /// Every event concerns as many documents as it may, all of its own.
    #[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
    pub(crate) struct Wide {
        pub(crate) events: u64,
    }

    impl View for Wide {
        const NAME: &'static str = "wide";
        type Event = AccountEvent;

        fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
            (0..es_core::limits::MAX_KEYS_PER_EVENT).map(|n| format!("{}-{n}", event.position())).collect()
        }

        fn apply(&mut self, _: &Recorded<AccountEvent>) -> DocumentAction {
            self.events += 1;
            DocumentAction::Keep
        }
    }
}
