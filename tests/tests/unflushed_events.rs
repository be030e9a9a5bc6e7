//! PostgreSQL is killed between a commit and its flush: what was seen of it is gone, and neither a decision nor an effect
//! rests on it.

use std::sync::Mutex;

use es_core::{
    Append, EventStore, ExecuteError, ExpectedVersion, HandlerError, NewEvent, PageSize, Position, Reactor, Recorded,
    Repository, StoreError, StreamId, Version,
};
use es_e2e::progress::STALL;
use es_e2e::server::{crash, durable_postgres};
use es_postgres::{PgConnection, PgOptions, PgStore};
use es_projections::Runner;
use es_testkit::bank::{Account, AccountCommand, AccountError, AccountEvent};
use sqlx::Connection;
use tokio::sync::oneshot;
use xtask::postgres::ThrowawayPostgres;

async fn connect(server: &ThrowawayPostgres) -> PgStore {
    PgOptions::new(server.url()).pipelined(true).connect().await.expect("a store")
}

fn ann() -> StreamId {
    StreamId::new("account", "ann").expect("a name")
}

/// Commits an event without a flush, as the pipelined mode does before it waits for one.
async fn append_unflushed(server: &ThrowawayPostgres, store: &PgStore, event: AccountEvent) -> NewEvent {
    let mut connection = PgConnection::connect(&server.url()).await.expect("the server accepts connections");
    sqlx::raw_sql("SET synchronous_commit = off").execute(&mut connection).await.expect("a setting");
    let event = NewEvent::of(&event).expect("an event");
    let append = Append::to(ann(), ExpectedVersion::Any, vec![event.clone()]).build().expect("a valid append");
    store.append_in(&mut connection, &append).await.expect("it is committed");
    event
}

async fn ids(store: &PgStore) -> Vec<uuid::Uuid> {
    let page = store.read_stream(&ann(), Version::ZERO, PageSize::default()).await.expect("a page");
    page.events.iter().map(|event| event.id()).collect()
}

/// After a crash, the connections of the store's pool are found dead one by one.
async fn until_connected<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    loop {
        match call().await {
            Err(StoreError::Unavailable { .. }) => {}
            result => return result.expect("the server is there again"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_decided_on_an_event_that_a_crash_took_away_is_decided_again() {
    let server = durable_postgres().await;
    let store = connect(&server).await;
    let accounts = Repository::<Account>::new(&store);
    accounts.execute("ann", AccountCommand::Open { owner: "Ann".to_owned() }).await.expect("it opens");
    let lost = append_unflushed(&server, &store, AccountEvent::Deposited { cents: 100 }).await;
    let seen = accounts.load("ann").await.expect("it loads");
    assert_eq!((seen.state.cents, seen.version), (100, Version::new(2)));

    let server = crash(server).await;
    let other = connect(&server).await;
    assert!(!ids(&other).await.contains(&lost.id()), "the event was flushed, so that nothing is shown here");
    let gone = other.wait_durable(Position::new(2)).await;
    assert!(matches!(gone, Err(StoreError::Unavailable { .. })), "nobody vouches for what is gone: {gone:?}");
    // The same version is filled by something else.
    let others = Repository::<Account>::new(&other);
    others.execute("ann", AccountCommand::Deposit { cents: 1 }).await.expect("a deposit");
    until_connected(async || store.head().await).await;

    // The cached state says 100 at version 2, and the store is at version 2.
    match accounts.execute("ann", AccountCommand::Withdraw { cents: 60 }).await {
        Err(ExecuteError::Rejected(AccountError::Overdrawn { balance: 1, asked: 60 })) => {}
        other => panic!("decided on an event that is gone: {other:?}"),
    }
    assert_eq!(ids(&other).await.len(), 2);
}

/// Tells of the first deposit, and then waits for ever.
struct Effect {
    reacted: Mutex<Option<oneshot::Sender<uuid::Uuid>>>,
}

impl Reactor for Effect {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "effect"
    }

    async fn react(&self, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        if let AccountEvent::Opened { .. } = event.event {
            return Ok(());
        }
        if let Some(reacted) = self.reacted.lock().expect("no panic").take() {
            reacted.send(event.id()).expect("the test waits");
        }
        std::future::pending().await
    }
}

/// The reactor's own store is of the ordinary mode, and was there before the log became a pipelined one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_outside_waits_for_the_flush_of_its_event() {
    let server = durable_postgres().await;
    let reading = PgOptions::new(server.url()).connect().await.expect("a store");
    let store = connect(&server).await;
    let (reacted, reaction) = oneshot::channel();
    let effect = Effect { reacted: Mutex::new(Some(reacted)) };
    let runner = Runner::builder(&reading).reactor(effect).build().expect("a valid runner");
    let running = tokio::spawn({
        let runner = runner.clone();
        async move { runner.run(std::future::pending()).await }
    });
    // When its checkpoint is saved, nothing but the effect makes it write, and so flush.
    let accounts = Repository::<Account>::new(&store);
    let opened = accounts.execute("ann", AccountCommand::Open { owner: "Ann".to_owned() }).await.expect("it opens");
    let opened = opened.position().expect("an event");
    runner.wait_for("effect", opened, STALL).await.expect("it follows");

    let event = append_unflushed(&server, &store, AccountEvent::Deposited { cents: 100 }).await;
    assert_eq!(reaction.await.expect("it reacts"), event.id());

    let server = crash(server).await;
    running.abort();
    let after = connect(&server).await;
    assert!(ids(&after).await.contains(&event.id()), "the effect is there, and its event is gone");
}
