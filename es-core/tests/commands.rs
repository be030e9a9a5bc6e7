//! Commands: what their events are stamped with, who may take part, and how they are refused.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use es_core::{
    Aggregate, BoxError, DomainEvent, EventFilter, EventStore, ExecuteError, HandlerError, MemoryStore, PageSize,
    Position, RecordedEvent, Repository, StoreError, is_transient, limits,
};
use es_testkit::bank::{Account, AccountCommand, AccountError, AccountEvent};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use time::macros::datetime;

/// A count of the accounts of one owner, which ends at two.
#[derive(Debug, Clone, Default, PartialEq)]
struct Customer {
    accounts: u32,
}

#[derive(Debug, Serialize, Deserialize)]
enum CustomerEvent {
    AccountAdded,
}

impl DomainEvent for CustomerEvent {
    const CATEGORY: &'static str = "customer";
}

#[derive(Debug, thiserror::Error)]
#[error("a customer has at most two accounts")]
struct TooManyAccounts;

impl Aggregate for Customer {
    type Event = CustomerEvent;
    type Command = ();
    type Error = TooManyAccounts;

    fn handle(&self, (): &()) -> Result<Vec<CustomerEvent>, TooManyAccounts> {
        if self.accounts == 2 { Err(TooManyAccounts) } else { Ok(vec![CustomerEvent::AccountAdded]) }
    }

    fn apply(&mut self, CustomerEvent::AccountAdded: &CustomerEvent) {
        self.accounts += 1;
    }
}

fn open(owner: &str) -> AccountCommand {
    AccountCommand::Open { owner: owner.to_owned() }
}

fn bank() -> (MemoryStore, Repository<Account>) {
    let store = MemoryStore::new();
    let accounts = Repository::new(&store);
    (store, accounts)
}

async fn log(store: &MemoryStore) -> Vec<RecordedEvent> {
    store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap().events
}

#[tokio::test]
async fn events_are_stamped_with_what_the_command_says() {
    let (store, accounts) = bank();
    let time = datetime!(2024-01-02 03:04:05.123456789 UTC);
    let done = accounts
        .execute("ann", open("Ann"))
        .actor("teller")
        .source("till")
        .correlation("c-1")
        .trace_parent("00-a-b-01")
        .extra("branch", 7)
        .occurred_at(time)
        .await
        .unwrap();
    let stored = log(&store).await.remove(0);
    let metadata = stored.metadata();
    assert_eq!(metadata.actor(), Some("teller"));
    assert_eq!(metadata.source(), Some("till"));
    assert_eq!(metadata.correlation(), Some("c-1"));
    assert_eq!(metadata.trace_parent(), Some("00-a-b-01"));
    assert_eq!(metadata.extra()["branch"], 7);
    assert!(metadata.causation().is_some(), "a command without a cause is its own");
    assert_eq!(stored.occurred_at(), datetime!(2024-01-02 03:04:05.123456 UTC));
    assert_eq!(done.events[0].envelope(), stored.envelope(), "the outcome tells what was stored");
}

#[tokio::test]
async fn events_of_one_command_share_their_cause_and_a_caused_command_names_its_event() {
    let (store, accounts) = bank();
    let both = accounts.execute("ann", open("Ann")).and("bob", open("Bob")).await.unwrap();
    let cause = both.events[0].envelope();
    accounts.execute("cid", open("Cid")).caused_by(cause).await.unwrap();
    accounts.execute("dan", open("Dan")).await.unwrap();
    let [ann, bob, cid, dan] = &log(&store).await[..] else { panic!("4 events") };
    assert_eq!(ann.metadata(), bob.metadata());
    assert_eq!(ann.metadata().causation(), ann.metadata().correlation());
    assert_eq!(cid.metadata().causation(), Some(ann.id().to_string().as_str()));
    assert_eq!(cid.metadata().correlation(), ann.metadata().correlation());
    assert_ne!(dan.metadata().correlation(), ann.metadata().correlation());
}

#[tokio::test]
async fn aggregates_of_two_types_change_together_or_not_at_all() {
    let (store, accounts) = bank();
    let customers = Repository::<Customer>::new(&store);
    for id in ["a-1", "a-2"] {
        let done = accounts.execute(id, open("Ann")).and_on(&customers, "ann", ()).await.unwrap();
        assert_eq!(done.appended.unwrap().streams.len(), 2);
    }
    let refused = accounts.execute("a-3", open("Ann")).and_on(&customers, "ann", ()).await;
    match refused {
        Err(ExecuteError::RejectedBy { stream, source }) => {
            assert_eq!(stream, customers.stream_id("ann").unwrap());
            assert_eq!(source.to_string(), "a customer has at most two accounts");
        }
        other => panic!("expected the customer's refusal, got {other:?}"),
    }
    assert_eq!(*customers.load("ann").await.unwrap().state, Customer { accounts: 2 });
    assert_eq!(log(&store).await.len(), 4);
    let impossible = accounts.execute("a-3", open("Ann")).and_on(&customers, "", ()).await;
    assert!(matches!(impossible, Err(ExecuteError::Store(StoreError::InvalidName(_)))), "{impossible:?}");
}

#[tokio::test]
async fn after_a_conflict_on_another_aggregate_type_all_decide_again() {
    let (store, accounts) = bank();
    let customers = Repository::<Customer>::new(&store);
    let (rival, rounds) = (customers.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&rounds);
    let done = accounts
        .execute_with("a-1", move |_| {
            let (rival, is_first) = (rival.clone(), counted.fetch_add(1, Ordering::SeqCst) == 0);
            async move {
                if is_first {
                    rival.execute("ann", ()).await.unwrap();
                }
                Ok(vec![AccountEvent::Opened { owner: "Ann".to_owned() }])
            }
        })
        .and_on(&customers, "ann", ())
        .await
        .unwrap();
    assert_eq!((done.version.get(), rounds.load(Ordering::SeqCst)), (1, 2));
    assert_eq!(customers.load("ann").await.unwrap().state.accounts, 2);
}

#[tokio::test]
async fn a_command_names_each_aggregate_once_and_a_bounded_number() {
    let (store, accounts) = bank();
    let twice = accounts.execute("ann", open("Ann")).and("ann", open("Ann")).await;
    assert!(
        matches!(twice, Err(ExecuteError::Store(StoreError::Refused { reason })) if reason.contains("already takes part"))
    );
    let twice = accounts.execute("ann", open("Ann")).and_on(&accounts.clone(), "ann", open("Ann")).idempotency_key("k");
    let twice = twice.await;
    assert!(
        matches!(twice, Err(ExecuteError::Store(StoreError::Refused { reason })) if reason.contains("already takes part"))
    );
    let limit = limits::MAX_AGGREGATES_PER_COMMAND;
    let many = |count| {
        (1..count).fold(accounts.execute("a0", open("X")), |command, n| command.and(format!("a{n}"), open("X")))
    };
    let too_many = many(limit + 1).await;
    assert!(
        matches!(too_many, Err(ExecuteError::Store(StoreError::LimitExceeded { limit: 100, actual: 101, .. }))),
        "{too_many:?}"
    );
    assert!(log(&store).await.is_empty());
    assert_eq!(many(limit).await.unwrap().others.len(), limit - 1);
}

#[tokio::test]
async fn unusable_settings_are_refused_before_anything_is_read_or_stored() {
    let (store, accounts) = bank();
    let commands = [
        accounts.execute("", open("Ann")),
        accounts.execute("a\0", open("Ann")),
        accounts.execute("ann", open("Ann")).idempotency_key(""),
        accounts.execute("ann", open("Ann")).actor("a\nb"),
        accounts.execute("ann", open("Ann")).and("x".repeat(limits::MAX_ID_BYTES + 1), open("X")),
    ];
    for command in commands {
        let refused = command.await;
        assert!(matches!(refused, Err(ExecuteError::Store(StoreError::InvalidName(_)))), "{refused:?}");
    }
    let nul = accounts.execute("ann", open("a\0b")).await;
    assert!(matches!(nul, Err(ExecuteError::Encode(_))), "{nul:?}");
    assert!(log(&store).await.is_empty());
}

#[tokio::test]
async fn a_refusal_keeps_the_domains_own_error() {
    let (_, accounts) = bank();
    let refused = accounts.execute("ann", AccountCommand::Close).await.unwrap_err();
    assert_eq!(refused.rejection(), Some(&AccountError::NotOpen));
    assert_eq!(refused.to_string(), "the account is not open");
}

#[tokio::test]
async fn an_expected_new_aggregate_is_not_read_first() {
    let (store, accounts) = bank();
    let faulty = es_testkit::FaultyStore::new(store, es_testkit::FaultPlan::none());
    faulty.plan().fail_next(es_testkit::Operation::Read, es_testkit::Fault::Busy);
    let quick = Repository::<Account>::new(&faulty);
    quick.execute("ann", open("Ann")).expecting(es_core::ExpectedVersion::NoStream).await.unwrap();
    assert_eq!(faulty.plan().faults(), 0, "the stream was read");
    assert_eq!(accounts.load("ann").await.unwrap().version.get(), 1);
}

#[tokio::test]
async fn a_history_is_read_page_by_page_with_its_envelopes() {
    let (_, accounts) = bank();
    accounts.execute("ann", open("Ann")).await.unwrap();
    let count = limits::DEFAULT_PAGE_EVENTS + 5;
    let deposits = move |_| std::future::ready(Ok((0..count).map(|_| AccountEvent::Deposited { cents: 1 }).collect()));
    accounts.execute_with("ann", deposits).actor("ann").await.unwrap();
    let events: Vec<_> = accounts.history("ann").try_collect().await.unwrap();
    assert_eq!(events.len(), count + 1);
    assert!(events.iter().zip(1..).all(|(event, version)| event.version().get() == version));
    assert_eq!(events[1].metadata().actor(), Some("ann"));
    assert!(accounts.history("").try_next().await.is_err());
}

#[test]
fn a_handlers_error_is_made_of_every_error_and_of_whatever_turns_into_a_boxed_one() {
    fn fails(way: u32) -> Result<(), HandlerError> {
        let busy = || StoreError::Busy { waiting_for: "a lock".to_owned(), source: None };
        match way {
            0 => Err(busy())?,
            1 => Err(BoxError::from(busy()))?,
            2 => Err(anyhow::Error::from(busy()))?,
            5 => Err(anyhow::Error::from(ExecuteError::<AccountError>::Store(busy())).context("no account"))?,
            3 => Err(ExecuteError::<AccountError>::Store(busy()))?,
            4 => Err(HandlerError::from(busy()))?,
            _ => Err("a text")?,
        }
        Ok(())
    }
    for way in 0..=5 {
        assert!(is_transient(&*fails(way).unwrap_err().into_source()), "{way}");
    }
    assert_eq!(fails(6).unwrap_err().into_source().to_string(), "a text");
}

#[test]
fn the_errors_of_a_command_tell_the_stores_reason_and_have_it_as_their_source() {
    let error = ExecuteError::<AccountError>::Store(StoreError::Refused { reason: "no" });
    assert_eq!(error.to_string(), "refused: no");
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<StoreError>());
    assert!(matches!(source, Some(StoreError::Refused { .. })));
    let error = ExecuteError::Rejected(AccountError::NotOpen);
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<AccountError>());
    assert_eq!(source, Some(&AccountError::NotOpen));
}
