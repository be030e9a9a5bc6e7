//! Commands on a store: what a repository needs of it, from end to end.

use es_core::{ExecuteError, Repository, StoreError, limits};

use super::support::*;
use crate::{
    bank::{Account, AccountCommand, AccountError, AccountEvent},
    faulty_store::{FaultPlan, FaultyStore},
    harness::StoreHarness,
};

pub(super) fn open(owner: &str) -> AccountCommand {
    AccountCommand::Open { owner: owner.to_owned() }
}

pub(super) fn deposit(cents: i64) -> AccountCommand {
    AccountCommand::Deposit { cents }
}

pub(super) fn withdraw(cents: i64) -> AccountCommand {
    AccountCommand::Withdraw { cents }
}

pub(super) async fn cents_of(accounts: &Repository<Account>, id: &str) -> i64 {
    ok(accounts.load(id).await).state.cents
}

/// Commands that meet on one aggregate are decided again until each has taken effect once.
pub async fn commands_under_contention_all_take_effect<H: StoreHarness>(harness: &H) {
    const TASKS: usize = 6;
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    let accounts = Repository::<Account>::new(&store);
    ok(accounts.execute("ann", open("Ann")).await);
    together(TASKS, |number| {
        let accounts = Repository::<Account>::new(&stores[number % 2]);
        async move {
            for round in 0..8 {
                ok(patiently!(accounts.execute("ann", deposit(1 + round))));
            }
        }
    })
    .await;
    let loaded = ok(accounts.load("ann").await);
    assert_eq!(loaded.state.cents, TASKS as i64 * (1..=8).sum::<i64>());
    assert_eq!(loaded.version.get(), 1 + TASKS as u64 * 8);
    assert_whole(&store).await;
}

impl<E: std::error::Error> MayBeBusy for ExecuteError<E> {
    fn is_busy(&self) -> bool {
        matches!(self, Self::Store(StoreError::Busy { .. }))
    }
}

/// With a bounded number of retries a command that keeps losing ends as a conflict.
pub async fn a_command_gives_up_after_its_retries<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store).with_conflict_retries(2);
    ok(accounts.execute("ann", open("Ann")).await);
    let rival = accounts.clone();
    let overtaken = accounts.execute_with("ann", move |_| {
        let rival = rival.clone();
        async move {
            ok(rival.execute("ann", deposit(1)).await);
            Ok(vec![AccountEvent::Deposited { cents: 1_000 }])
        }
    });
    match overtaken.await {
        Err(ExecuteError::Store(StoreError::Conflict { stream: on, actual, .. })) => {
            assert_eq!((on, actual.get()), (stream("ann"), 4));
        }
        other => panic!("expected a conflict, got {other:?}"),
    }
    assert_eq!(cents_of(&accounts, "ann").await, 3);
}

/// A command with a key takes effect once: repeated, it gives the original outcome, also where it would be refused.
pub async fn a_repeated_command_gives_the_original_outcome<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store);
    ok(accounts.execute("ann", open("Ann")).await);
    ok(accounts.execute("ann", deposit(100)).await);
    let first = ok(accounts.execute("ann", withdraw(80)).idempotency_key("w-1").await);
    assert_eq!((first.is_repeated(), first.state.cents, first.version.get()), (false, 20, 3));
    ok(accounts.execute("ann", deposit(5)).await);
    let refused = accounts.execute("ann", withdraw(80)).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(AccountError::Overdrawn { balance: 25, asked: 80 }))));
    let elsewhere = Repository::<Account>::new(&harness.reopened(&store).await);
    for accounts in [&accounts, &elsewhere] {
        let again = ok(accounts.execute("ann", withdraw(80)).idempotency_key("w-1").await);
        assert!(again.is_repeated());
        assert_eq!((again.state.cents, again.version), (20, first.version));
        assert_eq!(again.events, first.events);
        assert_eq!(again.position(), first.position());
    }
    let misused = accounts.execute("bob", open("Bob")).idempotency_key("w-1").await;
    assert!(matches!(misused, Err(ExecuteError::Store(StoreError::IdReused { .. }))), "{misused:?}");
    assert_eq!(assert_whole(&store).await.len(), 4);
}

/// A key that was used is refused for any other command, also one that decides by a function or concerns fewer or more
/// aggregates.
pub async fn a_key_used_for_another_command_is_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store);
    for id in ["ann", "bob", "eve"] {
        ok(accounts.execute(id, open(id)).await);
        ok(accounts.execute(id, deposit(100)).await);
    }
    let transfer = |accounts: &Repository<Account>, cents| {
        accounts.execute("ann", withdraw(cents)).and("bob", deposit(30)).and_on(accounts, "eve", deposit(0))
    };
    let first = ok(transfer(&accounts, 30).idempotency_key("t").await);
    ok(accounts.execute("ann", deposit(7)).idempotency_key("d").await);
    let head = head_of(&store).await;
    let noon = time::macros::datetime!(2026-06-30 12:00 UTC);
    let elsewhere = Repository::<Account>::new(&harness.reopened(&store).await);
    for accounts in [&accounts, &elsewhere, &accounts.clone().without_cache()] {
        let function = |_| std::future::ready(Ok(vec![AccountEvent::Deposited { cents: 7 }]));
        let both = || accounts.execute("ann", withdraw(30));
        let others = [
            accounts.execute("ann", deposit(8)).idempotency_key("d"),
            accounts.execute("ann", deposit(0)).idempotency_key("d"),
            accounts.execute("ann", withdraw(7)).idempotency_key("d"),
            accounts.execute("ann", withdraw(10_000)).idempotency_key("d"),
            accounts.execute("bob", deposit(7)).idempotency_key("d"),
            accounts.execute("new", open("new")).idempotency_key("d"),
            accounts.execute("ann", deposit(7)).occurred_at(noon).idempotency_key("d"),
            accounts.execute("ann", deposit(7)).and("bob", deposit(7)).idempotency_key("d"),
            accounts.execute("ann", deposit(7)).and("bob", deposit(0)).idempotency_key("d"),
            accounts.execute("ann", deposit(7)).and_on(accounts, "bob", deposit(0)).idempotency_key("d"),
            accounts.execute_with("ann", function).idempotency_key("d"),
            transfer(accounts, 31).idempotency_key("t"),
            both().idempotency_key("t"),
            both().and("bob", deposit(30)).idempotency_key("t"),
            both().and("bob", deposit(31)).and_on(accounts, "eve", deposit(0)).idempotency_key("t"),
            both().and("bob", deposit(30)).and_on(accounts, "eve", deposit(1)).idempotency_key("t"),
            both().and("bob", deposit(30)).and_on(accounts, "eve", open("eve")).idempotency_key("t"),
            accounts.execute("bob", deposit(30)).and("ann", withdraw(30)).and("eve", deposit(0)).idempotency_key("t"),
        ];
        for (number, other) in others.into_iter().enumerate() {
            let refused = other.await;
            match refused {
                Err(ExecuteError::Store(error @ StoreError::IdReused { .. })) => {
                    let text = error.to_string();
                    assert!(
                        text.contains("first used at position") && text.contains("account/ann"),
                        "{number}: {text}"
                    );
                }
                other => panic!("{number}: expected IdReused, got {other:?}"),
            }
        }
        let again = ok(transfer(accounts, 30).idempotency_key("t").await);
        assert!(again.is_repeated());
        assert_eq!((again.state.cents, again.others[0].state.cents), (70, 130), "the states as they were then");
        assert_eq!((again.position(), again.events.len()), (first.position(), 1));
        assert!(ok(accounts.execute("ann", deposit(7)).idempotency_key("d").await).is_repeated());
    }
    assert_eq!(head_of(&store).await, head);
}

/// Where a command names its request, that is what its key stands for, whatever it decides and whenever it occurs.
pub async fn a_named_request_is_what_a_key_stands_for<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store);
    ok(accounts.execute("ann", open("Ann")).await);
    let times = [time::macros::datetime!(2026-06-30 12:00 UTC), time::macros::datetime!(2026-07-01 12:00 UTC)];
    let put = |cents, request: &serde_json::Value, time| {
        accounts.execute("ann", deposit(cents)).occurred_at(time).idempotency_key("k").request(request)
    };
    let request = serde_json::json!({"line": 17, "account": "ann"});
    let first = ok(put(1, &request, times[0]).await);
    let again = ok(put(2, &serde_json::json!({"account": "ann", "line": 17}), times[1]).await);
    assert!(again.is_repeated());
    assert_eq!((again.state.cents, again.position()), (1, first.position()));
    let function = |_| std::future::ready(Ok(vec![AccountEvent::Deposited { cents: 3 }]));
    assert!(ok(accounts.execute_with("ann", function).idempotency_key("k").request(&request).await).is_repeated());
    for other in [
        put(1, &serde_json::json!({"line": 18, "account": "ann"}), times[0]),
        accounts.execute("ann", deposit(1)).occurred_at(times[0]).idempotency_key("k"),
        accounts.execute("bob", open("Bob")).idempotency_key("k").request(&request),
    ] {
        let refused = other.await;
        assert!(matches!(refused, Err(ExecuteError::Store(StoreError::IdReused { .. }))), "{refused:?}");
    }
    assert_eq!(cents_of(&accounts, "ann").await, 1);
}

/// Commands of one process on one aggregate take turns, whichever repository of the store they come from: none
/// conflicts.
pub async fn repositories_of_one_store_lose_no_race_against_each_other<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let faulty = FaultyStore::new(store.clone(), FaultPlan::seeded(1).delays(50));
    let opening = Repository::<Account>::new(&faulty);
    for id in ["0", "1", "2"] {
        ok(opening.execute(id, open(id)).await);
    }
    together(8, |writer| {
        // Without a retry. A stale cached state is not a lost race.
        let accounts = Repository::<Account>::new(&faulty).with_conflict_retries(0);
        async move {
            for round in 0..5 {
                let (one, other) = ((writer % 3).to_string(), ((writer + round) % 3).to_string());
                let command = || {
                    let command = accounts.execute(&one, deposit(1));
                    if one == other { command } else { command.and(&other, deposit(1)) }
                };
                ok(patiently!(command()));
            }
        }
    })
    .await;
    assert_whole(&store).await;
}

/// A command that is sent several times at once under one key takes effect once.
pub async fn concurrent_commands_with_the_same_key_take_effect_once<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    let accounts = Repository::<Account>::new(&store);
    ok(accounts.execute("ann", open("Ann")).await);
    for round in 1..=3 {
        let outcomes = together(6, |number| {
            let accounts = Repository::<Account>::new(&stores[number % 2]);
            let key = format!("order-{round}");
            async move { ok(patiently!(accounts.execute("ann", deposit(10)).idempotency_key(&key))) }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|done| !done.is_repeated()).count(), 1);
        assert!(
            outcomes.iter().all(|done| done.state.cents == round * 10 && done.position() == outcomes[0].position())
        );
    }
    assert_eq!(cents_of(&accounts, "ann").await, 30);
}

/// A command on several aggregates changes all of them or none, also while others change them.
pub async fn a_command_on_several_aggregates_is_all_or_nothing<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store).with_conflict_retries(limits::MAX_CONFLICT_RETRIES);
    for id in ["ann", "bob"] {
        ok(accounts.execute(id, open(id)).await);
        ok(accounts.execute(id, deposit(100)).await);
    }
    let done = ok(accounts.execute("ann", withdraw(30)).and("bob", deposit(30)).await);
    assert_eq!((done.state.cents, done.others[0].state.cents), (70, 130));
    let refused = accounts.execute("bob", deposit(71)).and("ann", withdraw(71)).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(AccountError::Overdrawn { .. }))), "{refused:?}");
    assert_eq!((cents_of(&accounts, "ann").await, cents_of(&accounts, "bob").await), (70, 130));
    together(4, |number| {
        let accounts = accounts.clone();
        async move {
            let (from, to) = if number % 2 == 0 { ("ann", "bob") } else { ("bob", "ann") };
            for _ in 0..5 {
                ok(patiently!(accounts.execute(from, withdraw(1)).and(to, deposit(1))));
            }
        }
    })
    .await;
    assert_eq!((cents_of(&accounts, "ann").await, cents_of(&accounts, "bob").await), (70, 130));
    assert_eq!(assert_whole(&store).await.len(), 4 + 2 + 4 * 5 * 2);
}

/// A refused command stores nothing, and neither does one that has nothing to record.
pub async fn a_refused_or_needless_command_stores_nothing<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store);
    let refused = accounts.execute("ann", deposit(1)).idempotency_key("k").await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(AccountError::NotOpen))), "{refused:?}");
    assert_eq!(head_of(&store).await, 0);
    ok(accounts.execute("ann", open("Ann")).idempotency_key("k").await);
    let needless = ok(accounts.execute("ann", deposit(0)).await);
    assert!(needless.appended.is_none() && needless.events.is_empty() && needless.position().is_none());
    assert_eq!((needless.version.get(), head_of(&store).await), (1, 1));
}

/// A command that expects a stream to be as it is not is a conflict, whatever the domain would say.
pub async fn an_expectation_comes_before_the_domains_answer<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store);
    ok(accounts.execute("ann", open("Ann")).expecting(NoStream).await);
    ok(accounts.execute("ann", deposit(1)).expecting(exactly(1)).await);
    let conflicts = [
        (accounts.execute("ann", open("Ann")).expecting(NoStream).await, 2),
        (accounts.execute("ann", deposit(1)).expecting(NoStream).await, 2),
        (accounts.execute("ann", deposit(0)).expecting(exactly(0)).await, 2),
        (accounts.execute("ann", withdraw(99)).expecting(exactly(1)).await, 2),
        (accounts.execute("ann", deposit(1)).expecting(exactly(3)).await, 2),
    ];
    for (result, version) in conflicts {
        match result {
            Err(ExecuteError::Store(StoreError::Conflict { stream: on, actual, .. })) => {
                assert_eq!((on, actual.get()), (stream("ann"), version));
            }
            other => panic!("expected a conflict, got {other:?}"),
        }
    }
    let missing = accounts.execute("bob", open("Bob")).expecting(Exists).await;
    assert!(matches!(missing, Err(ExecuteError::Store(StoreError::Conflict { .. }))), "{missing:?}");
    let refused = accounts.execute("bob", deposit(1)).expecting(NoStream).await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(AccountError::NotOpen))), "{refused:?}");
    ok(accounts.execute("ann", deposit(1)).expecting(Exists).await);
    ok(accounts.execute("ann", deposit(1)).expecting(Any).await);
    assert_eq!(assert_whole(&store).await.len(), 4);
}

/// With requests and answers lost at random, commands with keys that are sent until they are answered sum up exactly.
pub async fn commands_take_effect_once_whatever_is_lost<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let accounts = Repository::<Account>::new(&store);
    ok(accounts.execute("ann", open("Ann")).await);
    let plan = FaultPlan::from_env().lost_requests(7).lost_answers(7).busy(6).delays(30);
    let faulty = FaultyStore::new(store.clone(), plan);
    together(3, |task| {
        let accounts = Repository::<Account>::new(&faulty).with_conflict_retries(limits::MAX_CONFLICT_RETRIES);
        async move {
            for number in 1..=10 {
                let key = format!("{task}-{number}");
                let mut tries_left = 1_000;
                loop {
                    match accounts.execute("ann", deposit(number)).idempotency_key(&key).await {
                        Err(ExecuteError::Store(error)) if error.is_transient() && tries_left > 0 => tries_left -= 1,
                        result => {
                            ok(result);
                            break;
                        }
                    }
                }
            }
        }
    })
    .await;
    assert_eq!(cents_of(&accounts, "ann").await, 3 * (1..=10).sum::<i64>());
    assert_eq!(assert_whole(&store).await.len(), 1 + 3 * 10);
}
