//! Commands over a bad network: each takes effect once, and what is reported is what happened.

use es_core::{ExecuteError, MemoryStore, Repository, StoreError, limits};
use es_testkit::{
    Fault, FaultPlan, FaultyStore, Operation,
    bank::{Account, AccountCommand},
};

fn open() -> AccountCommand {
    AccountCommand::Open { owner: "Ann".to_owned() }
}

fn deposit(cents: i64) -> AccountCommand {
    AccountCommand::Deposit { cents }
}

type Bank = (FaultyStore<MemoryStore>, Repository<Account>);

async fn bank_with_an_account(plan: FaultPlan) -> Bank {
    let store = FaultyStore::new(MemoryStore::new(), plan);
    Repository::<Account>::new(store.intact()).execute("ann", open()).await.unwrap();
    let accounts = Repository::new(&store);
    (store, accounts)
}

async fn cents_in((store, _): &Bank) -> i64 {
    Repository::<Account>::new(store.intact()).load("ann").await.unwrap().state.cents
}

#[tokio::test]
async fn an_append_whose_request_or_answer_is_lost_is_sent_again_and_stored_once() {
    for faults in [
        vec![Fault::LostRequest],
        vec![Fault::LostAnswer],
        vec![Fault::LostRequest, Fault::LostAnswer, Fault::LostAnswer],
        vec![Fault::LostAnswer, Fault::LostRequest, Fault::LostRequest],
    ] {
        let bank = bank_with_an_account(FaultPlan::none()).await;
        faults.iter().for_each(|&fault| bank.0.plan().fail_next(Operation::Append, fault));
        let done = bank.1.execute("ann", deposit(7)).idempotency_key("d-1").await.unwrap();
        assert!(!done.is_repeated(), "after {faults:?}: it is the command's own append");
        assert_eq!((done.state.cents, done.version.get(), done.events.len()), (7, 2, 1));
        assert_eq!((cents_in(&bank).await, bank.0.plan().faults()), (7, faults.len() as u64));
    }
}

#[tokio::test]
async fn busy_after_a_lost_answer_does_not_say_that_nothing_was_stored() {
    let bank = bank_with_an_account(FaultPlan::none()).await;
    bank.0.plan().fail_next(Operation::Append, Fault::LostAnswer);
    bank.0.plan().fail_next(Operation::Append, Fault::Busy);
    let done = bank.1.execute("ann", deposit(7)).await.unwrap();
    assert_eq!((done.state.cents, cents_in(&bank).await), (7, 7));

    bank.0.plan().fail_next(Operation::Append, Fault::LostAnswer);
    (0..limits::UNKNOWN_OUTCOME_RETRIES).for_each(|_| bank.0.plan().fail_next(Operation::Append, Fault::Busy));
    let unknown = bank.1.execute("ann", deposit(7)).await;
    assert!(matches!(unknown, Err(ExecuteError::Store(StoreError::Unavailable { .. }))), "{unknown:?}");
    assert_eq!(cents_in(&bank).await, 14);
}

#[tokio::test]
async fn busy_is_tried_again_and_then_says_that_nothing_was_stored() {
    let bank = bank_with_an_account(FaultPlan::none()).await;
    (0..limits::BUSY_RETRIES).for_each(|_| bank.0.plan().fail_next(Operation::Append, Fault::Busy));
    assert_eq!(bank.1.execute("ann", deposit(7)).await.unwrap().state.cents, 7);
    bank.1.execute("ann", AccountCommand::Withdraw { cents: 7 }).await.unwrap();
    (0..=limits::BUSY_RETRIES).for_each(|_| bank.0.plan().fail_next(Operation::Append, Fault::Busy));
    let busy = bank.1.execute("ann", deposit(7)).await;
    assert!(matches!(busy, Err(ExecuteError::Store(StoreError::Busy { .. }))), "{busy:?}");
    assert_eq!(cents_in(&bank).await, 0);
}

#[tokio::test]
async fn an_unknown_outcome_is_reported_after_bounded_retries_and_the_key_finds_it_out() {
    let bank = bank_with_an_account(FaultPlan::none()).await;
    bank.0.plan().fail_next(Operation::Append, Fault::LostAnswer);
    let retries = limits::UNKNOWN_OUTCOME_RETRIES;
    (0..retries).for_each(|_| bank.0.plan().fail_next(Operation::Append, Fault::LostRequest));
    let unknown = bank.1.execute("ann", deposit(7)).idempotency_key("d-1").await;
    assert!(matches!(unknown, Err(ExecuteError::Store(StoreError::Unavailable { .. }))), "{unknown:?}");
    assert_eq!(bank.0.plan().faults(), u64::from(retries) + 1);
    let again = bank.1.execute("ann", deposit(7)).idempotency_key("d-1").await.unwrap();
    assert!(again.is_repeated());
    assert_eq!((again.state.cents, cents_in(&bank).await), (7, 7));
}

#[tokio::test]
async fn a_snapshot_store_that_fails_costs_time_alone() {
    let plan = FaultPlan::seeded(1).lost_requests(50).lost_answers(50).only([Operation::Snapshot]);
    let bank = bank_with_an_account(plan).await;
    let accounts = bank.1.clone().without_cache().with_snapshots(&bank.0, std::num::NonZeroU64::MIN);
    for _ in 0..10 {
        accounts.execute("ann", deposit(1)).await.unwrap();
    }
    assert_eq!(accounts.load("ann").await.unwrap().state.cents, 10);
    assert!(bank.0.plan().faults() >= 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_sum_up_exactly_whatever_is_lost_on_the_way() {
    const TASKS: i64 = 4;
    const DEPOSITS: i64 = 25;
    let plan = FaultPlan::from_env().lost_requests(7).lost_answers(7).busy(6).delays(30);
    let bank = bank_with_an_account(plan).await;
    let tasks = (0..TASKS).map(|task| {
        let accounts = bank.1.clone().with_conflict_retries(limits::MAX_CONFLICT_RETRIES);
        tokio::spawn(async move {
            for number in 1..=DEPOSITS {
                execute_until_known(&accounts, number, &format!("{task}-{number}")).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert!(bank.0.plan().faults() > 5, "about a fifth of the calls should fail");
    assert_eq!(cents_in(&bank).await, TASKS * DEPOSITS * (DEPOSITS + 1) / 2);
}

/// What a careful client does: the same command with the same key, until the answer is not "try again".
async fn execute_until_known(accounts: &Repository<Account>, cents: i64, key: &str) {
    for _ in 0..1_000 {
        match accounts.execute("ann", deposit(cents)).idempotency_key(key).await {
            Ok(_) => return,
            Err(ExecuteError::Store(error)) if error.is_transient() => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("1000 tries at 20 percent faults");
}
