use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use es_core::{ConsumerStoreExt, DocumentAction, GenerationState, GenerationStore, LeaseStore, Recorded, View};
use es_projections::{ConsumerState, Difference, RebuildOptions, Rebuilt, Runner, RunnerError, Verification, limits};
use es_testkit::bank::{AccountEvent, Balance};
use serde::{Deserialize, Serialize};

use crate::{spy_store::SpyStore, support::*};

/// The balances again, by code of the next version: it forgets the small deposits.
#[derive(Debug, Default, Serialize, Deserialize)]
struct LargeDeposits {
    owner: String,
    cents: i64,
    events: u64,
}

impl View for LargeDeposits {
    const NAME: &'static str = Balance::NAME;
    const VERSION: u32 = 2;
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
        if let AccountEvent::Deposited { cents } = event.event
            && cents > 1
        {
            self.cents += cents;
        }
        self.events += 1;
        DocumentAction::Keep
    }
}

fn must_match() -> RebuildOptions {
    RebuildOptions::by("builder").verify(Verification::MustMatch)
}

fn both(store: &SpyStore) -> Runner {
    Runner::builder(store)
        .view_with::<Balance>(pages_of(7))
        .projection_with(Ledger::new(), pages_of(7))
        .build()
        .unwrap()
}

fn next_version(store: &SpyStore) -> Runner {
    Runner::builder(store).view_with::<LargeDeposits>(pages_of(7)).build().unwrap()
}

async fn states(store: &SpyStore, consumer: &str) -> Vec<(u32, GenerationState)> {
    let known = store.generations(&name(consumer)).await.unwrap();
    known.iter().map(|info| (info.generation().get(), info.state)).collect()
}

#[tokio::test(start_paused = true)]
async fn unchanged_code_builds_the_same_read_model_and_readers_and_runners_go_over_to_it() {
    let store = SpyStore::default();
    let runner = both(&store);
    let running = Running::start(&runner);
    for _ in 0..5 {
        deposits(&store, 20).await;
        noise(&store, 3).await;
    }
    for (consumer, rows) in [("balance", 7), ("ledger", 100)] {
        runner.wait_for(consumer, position(115), Duration::from_secs(9)).await.unwrap();
        let mut done = Vec::new();
        let rebuilt = runner.rebuild_beside(consumer, must_match(), |progress| done.push(progress.done)).await.unwrap();
        let Rebuilt::Live { generation, comparison: Some(comparison) } = rebuilt else { panic!("{rebuilt:?}") };
        assert_eq!(generation.as_str(), format!("{consumer}@2"));
        assert_eq!((comparison.live.rows, comparison.position), (rows, position(115)));
        assert!(comparison.is_same() && comparison.live == comparison.rebuilt);
        assert!(done.is_sorted() && done.last() == Some(&115), "{done:?}");
        assert_eq!(states(&store, consumer).await, [(1, GenerationState::Retired), (2, GenerationState::Live)]);
    }
    // The runner that followed the old ones follows the new ones.
    deposits(&store, 6).await;
    for consumer in ["balance", "ledger"] {
        runner.wait_for(consumer, position(121), Duration::from_secs(9)).await.unwrap();
        assert_eq!(status_of(&runner, consumer).await.position, position(121));
        assert_eq!(checkpoint(&store, consumer).await, Some(115), "the retired generation was moved");
    }
    let all: i64 = balances(&store).await.iter().map(|(_, cents, _)| cents).sum();
    assert_eq!(all, 106);
    let rows = ledger_rows(&store.inner, "ledger").await;
    assert!(rows.len() == 106 && rows.values().all(|times| *times == 1), "{rows:?}");
    running.stop().await.unwrap();
    assert_eq!(runner.drop_retired("ledger").await.unwrap(), [name("ledger")]);
    assert_eq!(states(&store, "ledger").await, [(2, GenerationState::Live)]);
    // And once more: the numbers go on.
    let rebuilt = runner.rebuild_beside("ledger", must_match(), |_| {}).await.unwrap();
    assert!(matches!(rebuilt, Rebuilt::Live { generation, .. } if generation.as_str() == "ledger@3"));
    assert_eq!(ledger_rows(&store.inner, "ledger").await.len(), 106);
}

#[tokio::test(start_paused = true)]
async fn changed_code_shows_its_difference_and_goes_live_when_somebody_accepts_it() {
    let store = SpyStore::default();
    let (old, new) = (both(&store), next_version(&store));
    let old_running = Running::start(&old);
    deposit(&store, "ann", 1).await;
    deposit(&store, "bob", 50).await;
    old.wait_for("balance", position(2), Duration::from_secs(9)).await.unwrap();
    let new_running = Running::start(&new);
    // The new code leaves the old read model alone, and says so.
    settle().await;
    let state = status_of(&new, "balance").await.state;
    assert!(
        matches!(&state, ConsumerState::VersionMismatch { live, live_version: 1, own_version: 2 } if live.as_str() == "balance"),
        "{state}"
    );
    let refused = next_version(&store).catch_up().await.unwrap_err();
    assert!(matches!(refused, RunnerError::VersionMismatch { own_version: 2, .. }), "{refused}");

    let rebuilt = new.rebuild_beside("balance", RebuildOptions::by("ann"), |_| {}).await.unwrap();
    let Rebuilt::Differs { generation, comparison } = rebuilt else { panic!("{rebuilt:?}") };
    assert_eq!((generation.as_str(), comparison.differing), ("balance@2", 1));
    let waiting = status_of(&old, "balance").await.rebuild.unwrap();
    assert_eq!((waiting.builder, waiting.done), (None, 2));
    let Difference { key, live, rebuilt, .. } = &comparison.first[0];
    assert_eq!(key, "ann");
    assert!(live.as_ref().unwrap().contains("\"cents\":1") && rebuilt.as_ref().unwrap().contains("\"cents\":0"));
    // Readers have the old one, which goes on.
    deposit(&store, "bob", 1).await;
    old.wait_for("balance", position(3), Duration::from_secs(9)).await.unwrap();
    assert_eq!(balances(&store).await, [("ann".to_owned(), 1, 1), ("bob".to_owned(), 51, 2)]);

    new.accept_rebuild("balance", "ann").await.unwrap();
    assert_eq!(balances(&store).await, [("ann".to_owned(), 0, 1), ("bob".to_owned(), 50, 2)]);
    deposit(&store, "bob", 7).await;
    new.wait_for("balance", position(4), Duration::from_secs(9)).await.unwrap();
    assert_eq!(store.view::<LargeDeposits>().get("bob").await.unwrap().unwrap().cents, 57);
    settle().await;
    let state = status_of(&old, "balance").await.state;
    assert!(matches!(state, ConsumerState::VersionMismatch { live_version: 2, own_version: 1, .. }), "{state}");

    // Back at once, and the old code goes on from there.
    assert_eq!(old.roll_back("balance", "ann").await.unwrap(), name("balance"));
    assert_eq!(balances(&store).await, [("ann".to_owned(), 1, 1), ("bob".to_owned(), 51, 2)]);
    tokio::time::sleep(limits::VERSION_CHECK_INTERVAL).await;
    old.wait_for("balance", position(4), Duration::from_secs(9)).await.unwrap();
    assert_eq!(balances(&store).await, [("ann".to_owned(), 1, 1), ("bob".to_owned(), 58, 3)]);
    old_running.stop().await.unwrap();
    new_running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_must_match_and_does_not_leaves_the_live_one_and_can_be_discarded() {
    let store = SpyStore::default();
    let (old, new) = (both(&store), next_version(&store));
    deposits(&store, 30).await;
    old.catch_up().await.unwrap();
    let before = balances(&store).await;
    let error = new.rebuild_beside("balance", must_match(), |_| {}).await.unwrap_err();
    let RunnerError::ReadModelsDiffer(comparison) = &error else { panic!("{error}") };
    assert_eq!((comparison.differing, comparison.first.len()), (7, 7));
    assert!(error.to_string().contains("7 differ"), "{error}");
    assert_eq!(balances(&store).await, before);
    assert_eq!(states(&store, "balance").await.len(), 2);
    new.discard_rebuild("balance", "somebody else").await.unwrap();
    assert_eq!(states(&store, "balance").await, [(1, GenerationState::Live)]);
    let says = |error: RunnerError, what: &str| {
        assert!(matches!(error, RunnerError::NoGeneration { .. }) && error.to_string().contains(what), "{error}");
    };
    says(new.discard_rebuild("balance", "builder").await.unwrap_err(), "rebuild it beside the live one first");
    says(new.accept_rebuild("balance", "builder").await.unwrap_err(), "rebuild it beside the live one first");
    says(
        new.roll_back("balance", "ann").await.unwrap_err(),
        "no earlier one is kept to go back to; rebuild it instead",
    );
    assert_eq!(new.drop_retired("balance").await.unwrap(), []);
    // Without a comparison nothing stands in its way.
    let skip = RebuildOptions::by("builder").verify(Verification::Skip);
    let rebuilt = new.rebuild_beside("balance", skip, |_| {}).await.unwrap();
    assert!(matches!(rebuilt, Rebuilt::Live { comparison: None, .. }), "{rebuilt:?}");
}

#[tokio::test(start_paused = true)]
async fn what_another_version_built_is_not_accepted_but_kept_until_it_is_discarded_or_built_again() {
    let store = SpyStore::default();
    let (old, new) = (both(&store), next_version(&store));
    deposits(&store, 30).await;
    old.catch_up().await.unwrap();
    assert!(new.rebuild_beside("balance", must_match(), |_| {}).await.is_err());
    let two = [(1, GenerationState::Live), (2, GenerationState::Building)];
    let error = old.accept_rebuild("balance", "builder").await.unwrap_err();
    let RunnerError::BuiltByOtherVersion { generation, built_version: 2, own_version: 1 } = &error else {
        panic!("{error}")
    };
    assert_eq!(generation.as_str(), "balance@2");
    assert!(error.to_string().contains("accept it with that version, or rebuild it with this one"), "{error}");
    assert_eq!(states(&store, "balance").await, two);
    old.discard_rebuild("balance", "builder").await.unwrap();
    assert_eq!(states(&store, "balance").await, two[..1]);
    // And whoever builds goes on without it.
    assert!(new.rebuild_beside("balance", must_match(), |_| {}).await.is_err());
    let rebuilt = old.rebuild_beside("balance", must_match(), |_| {}).await.unwrap();
    assert!(matches!(rebuilt, Rebuilt::Live { .. }), "{rebuilt:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_is_killed_anywhere_goes_on_where_it_was() {
    for polls in 0.. {
        let store = SpyStore::default();
        deposits(&store, 20).await;
        let runner = both(&store);
        runner.catch_up().await.unwrap();
        let documents = balances(&store).await;
        let mut is_done = true;
        for consumer in ["balance", "ledger"] {
            let killed = drop_after(polls, runner.rebuild_beside(consumer, must_match(), |_| {})).await;
            is_done &= killed.is_some();
            if consumer == "balance" {
                assert_eq!(balances(&store).await, documents, "killed after {polls} polls");
            }
            deposits(&store, 1).await;
            let rebuilt = runner.rebuild_beside(consumer, must_match(), |_| {}).await;
            assert!(matches!(rebuilt, Ok(Rebuilt::Live { .. })), "killed after {polls} polls: {rebuilt:?}");
            runner.catch_up().await.unwrap();
        }
        runner.catch_up().await.unwrap();
        assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=22), "killed after {polls} polls");
        assert_eq!(balances(&store).await.iter().map(|(_, cents, _)| cents).sum::<i64>(), 22);
        if is_done {
            assert!(polls > 10, "it was killed in many places");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_rebuild_is_refused_and_told_of_the_first_until_its_lease_runs_out() {
    let store = SpyStore::default();
    deposits(&store, 20).await;
    both(&store).catch_up().await.unwrap();
    let gate = Trouble::gate_before(9);
    let slow = Ledger::with(gate.clone());
    let first = Runner::builder(&store).projection_with(slow, pages_of(4)).build().unwrap();
    let task = tokio::spawn(async move {
        let options = RebuildOptions::by("the first").verify(Verification::MustMatch);
        first.rebuild_beside("ledger", options, |_| {}).await
    });
    settle().await;
    assert!(gate.tries() > 0);
    let second = both(&store);
    // Whoever asks is told, in whatever process.
    let rebuilds = second.rebuilds().await.unwrap();
    let [rebuild] = &rebuilds[..] else { panic!("{rebuilds:?}") };
    assert_eq!((rebuild.generation.as_str(), rebuild.done, rebuild.total), ("ledger@2", 0, 20));
    assert_eq!(rebuild.builder.as_ref().map(|builder| builder.by.as_str()), Some("the first"));
    assert!(status_of(&second, "balance").await.rebuild.is_none());
    let text = status_of(&second, "ledger").await.to_string();
    assert!(text.contains("; ledger@2 is being built by the first since "), "{text}");
    let held_until = async || {
        let known = store.generations(&name("ledger")).await.unwrap();
        known.last().unwrap().builder.as_ref().unwrap().until
    };
    for _ in 0..4 {
        let before = held_until().await;
        tokio::time::sleep(limits::REBUILD_LEASE).await;
        assert!(held_until().await > before, "it says that it goes on, however long it takes");
        let error = second.rebuild_beside("ledger", must_match(), |_| {}).await.unwrap_err();
        assert!(matches!(&error, RunnerError::RebuildRunning { by, .. } if by == "the first"), "{error}");
        assert!(second.discard_rebuild("ledger", "me").await.is_err());
    }
    // Killed, it says nothing any more.
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    gate.open();
    let refused = second.rebuild_beside("ledger", must_match(), |_| {}).await;
    assert!(matches!(refused, Err(RunnerError::RebuildRunning { .. })), "{refused:?}");
    // Whoever has its name is the same builder, and goes on at once.
    let resumed = RebuildOptions::by("the first").verify(Verification::MustMatch);
    let rebuilt = second.rebuild_beside("ledger", resumed, |_| {}).await.unwrap();
    assert!(matches!(rebuilt, Rebuilt::Live { .. }), "{rebuilt:?}");
    assert_eq!(second.rebuilds().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn the_live_one_and_the_rebuilt_one_are_compared_at_one_position_while_events_come_in() {
    let store = SpyStore::default();
    deposits(&store, 50).await;
    let runner = both(&store);
    let running = Running::start(&runner);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut count = 50;
            while !stop.load(Ordering::SeqCst) {
                deposits(&store, 1).await;
                count += 1;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            count
        })
    };
    for _ in 0..5 {
        for consumer in ["balance", "ledger"] {
            let rebuilt = runner.rebuild_beside(consumer, must_match(), |_| {}).await;
            assert!(matches!(rebuilt, Ok(Rebuilt::Live { .. })), "{rebuilt:?}");
            runner.drop_retired(consumer).await.unwrap();
        }
    }
    stop.store(true, Ordering::SeqCst);
    let count = writer.await.unwrap();
    for consumer in ["balance", "ledger"] {
        runner.wait_for(consumer, position(count), Duration::from_secs(60)).await.unwrap();
    }
    running.stop().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=count));
    assert_eq!(balances(&store).await.iter().map(|(_, cents, _)| cents).sum::<i64>(), count as i64);
}

#[tokio::test(start_paused = true)]
async fn a_live_one_that_is_stuck_is_compared_where_it_stands_and_the_mended_one_goes_on() {
    let store = SpyStore::default();
    deposits(&store, 20).await;
    let stuck = Ledger::with(Trouble::at(13, How::Error));
    let old = Runner::builder(&store).projection_with(stuck, retries(0)).build().unwrap();
    assert!(old.catch_up().await.is_err());
    assert_eq!(checkpoint(&store, "ledger").await, Some(12));
    let mended = Runner::builder(&store).projection(Ledger::new()).build().unwrap();
    let rebuilt = mended.rebuild_beside("ledger", must_match(), |_| {}).await.unwrap();
    let Rebuilt::Live { comparison: Some(comparison), .. } = rebuilt else { panic!("{rebuilt:?}") };
    assert_eq!((comparison.position, comparison.rebuilt.rows), (position(12), 12));
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=20));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_built_side_by_side_says_why() {
    let store = SpyStore::default();
    deposits(&store, 3).await;
    let builder = Runner::builder(&store).reactor(Mailer::new()).projection(OwnTables);
    let runner = builder.view::<Balance>().build().unwrap();
    runner.catch_up().await.unwrap();
    let rebuild = async |consumer: &str| runner.rebuild_beside(consumer, must_match(), |_| {}).await.unwrap_err();
    assert!(matches!(rebuild("mailer").await, RunnerError::NoReadModel { .. }));
    assert!(matches!(rebuild("own_tables").await, RunnerError::NoGenerations { .. }));
    let in_place = runner.rebuild_in_place("own_tables", Verification::MustMatch, |_| {}).await.unwrap_err();
    assert!(matches!(in_place, RunnerError::NotComparable { .. }), "{in_place}");
    runner.rebuild("own_tables", |_| {}).await.unwrap();
    assert!(matches!(rebuild("nobody").await, RunnerError::UnknownConsumer { .. }));
    let nameless = runner.rebuild_beside("balance", RebuildOptions::by(""), |_| {}).await.unwrap_err();
    assert!(matches!(nameless, RunnerError::InvalidName(_)), "{nameless}");
    assert_eq!(states(&store, "own_tables").await, [(1, GenerationState::Live)]);
}

/// A projection that says nothing about generations.
struct OwnTables;

impl es_core::Projection for OwnTables {
    type Connection = es_core::MemoryTables;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "own_tables"
    }

    async fn apply(
        &self,
        tables: &mut es_core::MemoryTables,
        event: &Recorded<AccountEvent>,
    ) -> Result<(), es_core::HandlerError> {
        tables.table("own_tables").insert(event.position().to_string(), 1.into());
        Ok(())
    }

    async fn clear(&self, tables: &mut es_core::MemoryTables) -> Result<(), es_core::HandlerError> {
        tables.table("own_tables").clear();
        Ok(())
    }
}

/// Rebuilds a read model while its live generation is ahead again before each swap.
async fn rebuilt_while_overtaken(partitions: u16) {
    let store = SpyStore::default();
    deposits(&store, 50).await;
    let options = pages_of(7).partitions(partitions);
    let of = || Runner::builder(&store).lease_time(Duration::from_millis(400)).view_with::<Balance>(options);
    let (runner, operator) = (of().build().unwrap(), of().build().unwrap());
    let running = Running::start(&runner);
    runner.wait_for("balance", position(50), STALL).await.unwrap();
    *store.seen.overtaken_by.lock().unwrap() = Some("a0");
    let rebuilt = operator.rebuild_beside("balance", must_match(), |_| {}).await.unwrap();
    assert!(matches!(&rebuilt, Rebuilt::Live { generation, .. } if generation.as_str() == "balance@2"), "{rebuilt:?}");
    *store.seen.overtaken_by.lock().unwrap() = None;
    assert!(store.leases().await.unwrap().iter().all(|(_, holder)| !holder.owner.starts_with("the swap to")));
    // The process that ran the live one runs the new one.
    let last = deposit(&store, "a0", 1).await;
    runner.wait_for("balance", last, STALL).await.unwrap();
    assert_eq!(balances(&store).await.iter().map(|(_, cents, _)| *cents as u64).sum::<u64>(), last.get());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_one_that_is_always_ahead_is_held_for_the_last_pages_so_that_the_swap_ends() {
    rebuilt_while_overtaken(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_always_ahead_are_held_too() {
    rebuilt_while_overtaken(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_one_that_is_held_says_for_whom_and_goes_on_when_the_holder_is_gone() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).lease_time(Duration::from_millis(400)).view::<Balance>().build().unwrap();
    let running = Running::start(&runner);
    let first = deposit(&store, "a0", 1).await;
    runner.wait_for("balance", first, STALL).await.unwrap();
    let lease = Duration::from_secs(2);
    store.seize_lease(&name("balance"), "the swap to balance@2 by ann", lease).await.unwrap();
    let second = deposit(&store, "a0", 1).await;
    until("it waits for the holder", async || {
        let state = status_of(&runner, "balance").await.state;
        matches!(&state, ConsumerState::WaitingForLease { holder } if holder.owner == "the swap to balance@2 by ann")
    })
    .await;
    assert_eq!(checkpoint(&store, "balance").await, Some(first.get()));
    // Nobody extends the lease: the holder has died.
    runner.wait_for("balance", second, STALL).await.unwrap();
    running.stop().await.unwrap();
}
