//! Commands on cached aggregates: quick, and never visibly stale.

use es_core::{CacheOptions, ExecuteError, Repository, limits};

use super::{
    repository::{cents_of, deposit, open, withdraw},
    support::*,
    switching_store::SwitchingStore,
};
use crate::{
    bank::{Account, AccountError, AccountEvent},
    faulty_store::{FaultPlan, FaultyStore, Operation},
    harness::StoreHarness,
};

/// Counts the calls of a store since the last count: appends and reads.
async fn calls<S, T>(store: &FaultyStore<S>, work: impl Future<Output = T>) -> (T, (u64, u64)) {
    let count = || (store.plan().calls(Operation::Append), store.plan().calls(Operation::Read));
    let (appends, reads) = count();
    let result = work.await;
    (result, (count().0 - appends, count().1 - reads))
}

async fn counted<H: StoreHarness>(harness: &H) -> FaultyStore<H::Store> {
    FaultyStore::new(harness.fresh().await, FaultPlan::none())
}

/// A command on one or several cached aggregates is one call, with a key too; clones of the repository share the
/// states.
pub async fn a_command_on_a_warm_aggregate_is_one_call<H: StoreHarness>(harness: &H) {
    let store = counted(harness).await;
    let accounts = Repository::<Account>::new(&store);
    for id in ["ann", "bob"] {
        ok(accounts.execute(id, open(id)).await);
        let (done, calls) = calls(&store, async { accounts.clone().execute(id, deposit(10)).await }).await;
        assert_eq!((ok(done).state.cents, calls), (10, (1, 0)));
    }
    let (done, both) = calls(&store, async { accounts.execute("ann", withdraw(3)).and("bob", deposit(3)).await }).await;
    assert_eq!((ok(done).others[0].state.cents, both), (13, (1, 0)));
    let (done, keyed) = calls(&store, async { accounts.execute("ann", deposit(1)).idempotency_key("k").await }).await;
    assert_eq!((ok(done).state.cents, keyed), (8, (1, 0)));
    let guarded = async { accounts.execute("ann", deposit(0)).and("bob", deposit(1)).await };
    let (done, guarded) = calls(&store, guarded).await;
    assert_eq!((ok(done).others[0].version.get(), guarded), (4, (1, 0)));

    let others = Repository::<Account>::new(&store);
    ok(others.load("ann").await);
    let (done, calls) = calls(&store, async { others.execute("ann", deposit(1)).expecting(exactly(4)).await }).await;
    assert_eq!((ok(done).state.cents, calls), (9, (1, 0)));
    assert_whole(store.intact()).await;
}

/// A refusal is confirmed before it is returned, and an acceptance by the append.
pub async fn what_a_stale_state_decides_is_confirmed<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store);
    let elsewhere = Repository::<Account>::new(&harness.reopened(&store).await);
    ok(accounts.execute("ann", open("Ann")).await);
    ok(accounts.execute("bob", open("Bob")).await);
    ok(elsewhere.execute("ann", deposit(100)).await);
    assert_eq!(ok(accounts.execute("ann", withdraw(60)).await).state.cents, 40);
    ok(elsewhere.execute("ann", withdraw(40)).await);
    let refused = accounts.execute("ann", withdraw(1)).await;
    assert!(
        matches!(refused, Err(ExecuteError::Rejected(AccountError::Overdrawn { balance: 0, asked: 1 }))),
        "{refused:?}"
    );
    // The same where another aggregate decides first.
    ok(elsewhere.execute("ann", deposit(5)).await);
    let done = ok(accounts.execute("bob", deposit(5)).and("ann", withdraw(5)).await);
    assert_eq!((done.state.cents, done.others[0].state.cents), (5, 0));
    let by_another_type = Repository::<Account>::new(&store);
    ok(elsewhere.execute("ann", deposit(7)).await);
    let done = ok(by_another_type.execute("bob", deposit(7)).and_on(&accounts, "ann", withdraw(7)).await);
    assert_eq!((done.state.cents, cents_of(&elsewhere, "ann").await), (12, 0));
    assert_whole(&store).await;
}

/// A decision to do nothing is confirmed before it is returned, and shows the present state.
pub async fn an_empty_decision_of_a_stale_state_is_confirmed<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store);
    let elsewhere = Repository::<Account>::new(&harness.reopened(&store).await);
    ok(accounts.execute("ann", open("Ann")).await);
    ok(elsewhere.execute("ann", deposit(5)).await);
    let empty_it = |account: std::sync::Arc<Account>| {
        let all = (account.cents > 0).then_some(AccountEvent::Withdrawn { cents: account.cents });
        std::future::ready(Ok(all.into_iter().collect()))
    };
    let done = ok(accounts.execute_with("ann", empty_it).await);
    assert_eq!((done.state.cents, done.version.get()), (0, 3));
    ok(elsewhere.execute("ann", deposit(9)).await);
    let needless = ok(accounts.execute("ann", deposit(0)).await);
    assert_eq!((needless.state.cents, needless.version.get(), needless.appended.is_none()), (9, 4, true));
}

/// What is loaded is what is stored.
pub async fn loading_a_warm_aggregate_shows_what_others_have_stored<H: StoreHarness>(harness: &H) {
    let store = counted(harness).await;
    let accounts = Repository::<Account>::new(&store);
    let elsewhere = Repository::<Account>::new(&harness.reopened(store.intact()).await);
    ok(accounts.execute("ann", open("Ann")).await);
    for cents in 1..=3 {
        let done = ok(elsewhere.execute("ann", deposit(cents)).await);
        let (loaded, (_, reads)) = calls(&store, accounts.load("ann")).await;
        let loaded = ok(loaded);
        assert_eq!((&loaded.state, loaded.version, reads), (&done.state, done.version, 1));
    }
}

/// However long a history is: after a conflict only what is new is read.
pub async fn a_conflict_on_a_warm_aggregate_reads_the_tail_alone<H: StoreHarness>(harness: &H) {
    let store = counted(harness).await;
    let accounts = Repository::<Account>::new(&store);
    ok(accounts.execute("ann", open("Ann")).await);
    let history = (0..limits::DEFAULT_PAGE_EVENTS * 2).map(|_| deposited(1)).collect();
    append(store.intact(), &stream("ann"), history).await;
    let (_, whole) = calls(&store, accounts.load("ann")).await;
    assert_eq!(whole, (0, 3), "the first load reads page by page");
    append(store.intact(), &stream("ann"), vec![deposited(100)]).await;
    let (done, calls) = calls(&store, async { accounts.execute("ann", deposit(1)).await }).await;
    let expected = limits::DEFAULT_PAGE_EVENTS as i64 * 2 + 101;
    assert_eq!((ok(done).state.cents, calls), (expected, (2, 1)), "append, read the tail, append");
}

/// A conflict that shows no more than that the cached aggregate was stale takes none of the retries.
pub async fn a_stale_state_is_no_lost_race<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store).with_conflict_retries(0);
    let elsewhere = Repository::<Account>::new(&harness.reopened(&store).await).with_conflict_retries(0);
    ok(accounts.execute("ann", open("Ann")).await);
    for cents in 1..=3 {
        ok(elsewhere.execute("ann", deposit(cents)).await);
        ok(accounts.execute("ann", deposit(cents)).await);
    }
    assert_eq!(cents_of(&accounts, "ann").await, 12);
}

/// A state whose last event is not in the store any more decides nothing, although the version may be right.
pub async fn a_state_of_another_history_decides_nothing<H: StoreHarness>(harness: &H) {
    // As long as the lost history, shorter, and longer.
    for deposits in [&[7][..], &[], &[7, 1], &[7, 1, 2, 3]] {
        let (before, after) = (harness.fresh().await, harness.fresh().await);
        let known = Repository::<Account>::new(&after);
        ok(known.execute("ann", open("Ann")).await);
        for &cents in deposits {
            ok(known.execute("ann", deposit(cents)).await);
        }
        let sum = deposits.iter().sum::<i64>();
        let all = || withdraw(sum.max(1));
        let store = SwitchingStore::new(before, after);
        let accounts = Repository::<Account>::new(&store);
        for id in ["ann", "bob"] {
            ok(accounts.execute(id, open(id)).await);
            ok(accounts.execute(id, deposit(1_000)).await);
        }
        store.switch();
        let loaded = ok(accounts.clone().with_cache(CacheOptions::default()).load("ann").await);
        assert_eq!(loaded.state.cents, sum);
        let too_much = accounts.execute("ann", withdraw(1_000)).await;
        assert!(
            matches!(too_much, Err(ExecuteError::Rejected(AccountError::Overdrawn { balance, .. })) if balance == sum)
        );
        let done = accounts.execute("ann", all()).await;
        assert_eq!(done.is_ok(), sum > 0, "after {deposits:?}: {done:?}");
        let gone = accounts.execute("bob", withdraw(1)).await;
        assert!(matches!(gone, Err(ExecuteError::Rejected(AccountError::NotOpen))), "{gone:?}");
        assert_eq!(ok(accounts.load("ann").await).state.cents, 0);
    }
}

/// No more states are kept than the options say, the least recently used go first, and the switch turns it off.
pub async fn the_cached_aggregates_are_bounded_and_can_be_switched_off<H: StoreHarness>(harness: &H) {
    let store = counted(harness).await;
    let accounts = Repository::<Account>::new(&store);
    let two = accounts.clone().with_cache(CacheOptions::default().max_states(2));
    for id in ["ann", "bob", "cid"] {
        ok(two.execute(id, open(id)).await);
        ok(two.execute("ann", deposit(1)).await);
    }
    let reads_of = async |accounts: &Repository<Account>, id: &str| {
        let (done, (_, reads)) = calls(&store, async { accounts.execute(id, deposit(1)).await }).await;
        ok(done);
        reads
    };
    assert_eq!(reads_of(&two, "ann").await, 0, "it was used all the time");
    assert_eq!(reads_of(&two, "cid").await, 0, "it is the newest");
    assert_eq!(reads_of(&two, "bob").await, 1, "it went first");
    assert_eq!(reads_of(&two, "ann").await, 1, "it made room for bob");
    let off = [accounts.clone().without_cache(), accounts.with_cache(CacheOptions::default().max_bytes(1))];
    for accounts in off {
        assert_eq!((reads_of(&accounts, "ann").await, reads_of(&accounts, "ann").await), (1, 1));
    }
}

/// Many tasks on two repositories, each with states of its own, over few aggregates: every command takes effect once.
pub async fn warm_commands_of_two_repositories_sum_up<H: StoreHarness>(harness: &H) {
    const TASKS: usize = 8;
    let store = harness.fresh().await;
    let repositories = [store.clone(), harness.reopened(&store).await]
        .map(|store| Repository::<Account>::new(&store).with_conflict_retries(limits::MAX_CONFLICT_RETRIES));
    for id in ["ann", "bob", "cid"] {
        ok(repositories[0].execute(id, open(id)).await);
        ok(repositories[0].execute(id, deposit(1_000)).await);
    }
    together(TASKS, |task| {
        let accounts = repositories[task % 2].clone();
        async move {
            for round in 0..6 {
                let (from, to) =
                    (["ann", "bob", "cid"][(task + round) % 3], ["ann", "bob", "cid"][(task + round + 1) % 3]);
                let cents = 1 + (task * 6 + round) as i64;
                ok(patiently!(accounts.execute(from, withdraw(cents)).and(to, deposit(cents))));
                let refused = patiently!(accounts.execute(from, withdraw(1_000_000)));
                assert!(matches!(refused, Err(ExecuteError::Rejected(AccountError::Overdrawn { .. }))), "{refused:?}");
            }
        }
    })
    .await;
    let mut sum = 0;
    for id in ["ann", "bob", "cid"] {
        let fresh = Repository::<Account>::new(&store);
        let cents = cents_of(&fresh, id).await;
        assert_eq!(cents_of(&repositories[0], id).await, cents);
        assert_eq!(cents_of(&repositories[1], id).await, cents);
        sum += cents;
    }
    assert_eq!((sum, assert_whole(&store).await.len()), (3_000, 6 + TASKS * 6 * 2));
}
