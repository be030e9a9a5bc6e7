//! Subscriptions on the databases: while others write, in this process and as another one would, and across a crash.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use es_core::{
    Append, EventFilter, EventStore, EventStoreExt, ExpectedVersion, NewEvent, PageSize, Position, Recorded,
    RecordedEvent, StreamId,
};
use es_e2e::{
    server::{Folder, crash, durable_postgres, shared_postgres_url, unique_schema},
    workload::{Workload, account},
};
use es_postgres::{PgConnection, PgOptions, PgStore};
use es_projections::{StartFrom, Subscription};
use es_sqlite::SqliteStore;
use es_testkit::bank::AccountEvent;
use futures_util::TryStreamExt;
use sqlx::Connection;
use tokio::time::timeout;

const WRITERS: usize = 4;
const APPENDS: u64 = 300;
/// Nothing takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(60);

/// The stream of the event that says that the writers have ended.
fn the_end() -> StreamId {
    StreamId::new("account", "the-end").expect("a name")
}

async fn append_deposit(store: &impl EventStore, stream: StreamId) -> Position {
    let event = NewEvent::of(&AccountEvent::Deposited { cents: 1 }).expect("an event");
    let append = Append::to(stream, ExpectedVersion::Any, vec![event]).build().expect("a valid append");
    store.append(&append).await.expect("it is stored").last_position
}

async fn next<T: Send + Sync + 'static>(subscription: &mut Subscription<T>) -> T {
    let next = timeout(LONG, subscription.next()).await;
    next.unwrap_or_else(|_| panic!("nothing comes: {subscription:?}")).expect("it goes on").expect("no error")
}

/// What a subscriber was given: from where on, of what, which events.
struct Given {
    start: Position,
    filter: EventFilter,
    positions: Vec<Position>,
}

/// Takes events until the last one, in calls that are dropped now and then. Every so often it subscribes again after its position.
async fn subscribe<S: EventStore + Clone + 'static>(
    store: S,
    workload: Workload,
    start_from: StartFrom,
    filter: EventFilter,
) -> Given {
    let random = &workload.random;
    let subscribe = |start_from| {
        let size = PageSize::new(1 + random.below(100) as usize).expect("a size");
        Subscription::builder(&store).page_size(size).filter(filter.clone()).start_from(start_from).subscribe()
    };
    let mut subscription = subscribe(start_from).await.expect("it subscribes");
    let start = subscription.position();
    let mut positions = Vec::new();
    loop {
        if random.percent(2) {
            subscription = subscribe(StartFrom::After(subscription.position())).await.expect("it subscribes again");
        }
        let limit = if random.percent(10) { Duration::from_micros(random.below(500)) } else { LONG };
        let Ok(next) = timeout(limit, subscription.next()).await else {
            assert!(limit < LONG, "nothing comes: {subscription:?}");
            continue;
        };
        let event: RecordedEvent = next.expect("it goes on").expect("no error");
        positions.push(event.position());
        if *event.stream() == the_end() {
            return Given { start, filter, positions };
        }
    }
}

/// Writers at `store`, subscribers at both handles: all are given what the log holds in the end.
async fn write_and_subscribe<S: EventStore + Clone + 'static>(store: S, other_process: S) {
    let workload = Workload::new();
    let is_over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (workload, store, is_over) = (workload.clone(), store.clone(), Arc::clone(&is_over));
            tokio::spawn(async move { workload.write(&store, || is_over.load(Ordering::Relaxed)).await })
        })
        .collect();
    let mut subscribers = Vec::new();
    let mut handles = [&store, &other_process].into_iter().cycle();
    for round in 0..3 {
        while workload.acknowledged() < APPENDS * round / 3 {
            tokio::task::yield_now().await;
        }
        for (start_from, filter) in [
            (StartFrom::Beginning, EventFilter::all()),
            (StartFrom::Now, EventFilter::all().or_stream(account(3)).or_stream(the_end())),
            (StartFrom::Now, EventFilter::all().or_category("account")),
        ] {
            let store = handles.next().expect("it never ends").clone();
            subscribers.push(tokio::spawn(subscribe(store, workload.clone(), start_from, filter)));
        }
    }
    while workload.acknowledged() < APPENDS {
        tokio::task::yield_now().await;
    }
    is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("the writer ends");
    }
    append_deposit(&store, the_end()).await;
    let mut given = Vec::new();
    for subscriber in subscribers {
        given.push(subscriber.await.expect("the subscriber ends"));
    }
    let log: Vec<RecordedEvent> =
        store.all_events(Position::ZERO, &EventFilter::all()).try_collect().await.expect("the log");
    for Given { start, filter, positions } in given {
        let wanted = log.iter().filter(|event| filter.matches(event.stream(), event.event_type()));
        let wanted: Vec<_> = wanted.map(|event| event.position()).filter(|&position| position > start).collect();
        assert_eq!(positions, wanted, "from {start}, {filter:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_subscribers_miss_nothing_and_are_given_nothing_twice_while_others_write() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    let other_process = SqliteStore::open(&file).await.expect("the store opens");
    write_and_subscribe(store, other_process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_subscribers_miss_nothing_and_are_given_nothing_twice_while_others_write() {
    for is_pipelined in [false, true] {
        let schema = unique_schema();
        let connect = || PgOptions::new(shared_postgres_url()).schema(&schema).pipelined(is_pipelined).connect();
        let store = connect().await.expect("the store opens");
        let other_process = connect().await.expect("the store opens");
        write_and_subscribe(store, other_process).await;
    }
}

/// A subscriber in another process is given each event, by a hint or by a poll.
async fn follow<S: EventStore + Clone + 'static>(store: S, other_process: S) {
    let mut deposits = Subscription::builder(&other_process)
        .start_from(StartFrom::Now)
        .subscribe_to::<AccountEvent>()
        .await
        .expect("it subscribes");
    for _ in 0..10 {
        let position = append_deposit(&store, account(1)).await;
        let deposit: Recorded<AccountEvent> = next(&mut deposits).await;
        assert_eq!((deposit.position(), &deposit.event), (position, &AccountEvent::Deposited { cents: 1 }));
        assert_eq!(deposits.position(), position);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_appends_is_given_to_a_subscriber_in_another() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let open = || SqliteStore::open(&file);
    follow(open().await.expect("the store opens"), open().await.expect("the store opens")).await;

    let schema = unique_schema();
    let connect = || PgOptions::new(shared_postgres_url()).schema(&schema).connect();
    follow(connect().await.expect("the store opens"), connect().await.expect("the store opens")).await;
}

/// Commits an event without a flush, as the pipelined mode does before it waits for one.
async fn append_unflushed(url: &str, store: &PgStore) -> NewEvent {
    let mut connection = PgConnection::connect(url).await.expect("the server accepts connections");
    sqlx::raw_sql("SET synchronous_commit = off").execute(&mut connection).await.expect("a setting");
    let event = NewEvent::of(&AccountEvent::Deposited { cents: 100 }).expect("an event");
    let append = Append::to(account(1), ExpectedVersion::Any, vec![event.clone()]).build().expect("a valid append");
    store.append_in(&mut connection, &append).await.expect("it is committed");
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_subscriber_was_given_is_there_after_a_crash_of_the_server() {
    let server = durable_postgres().await;
    let connect = |url: String| async { PgOptions::new(url).pipelined(true).connect().await.expect("a store") };
    let (store, reading) = (connect(server.url()).await, connect(server.url()).await);
    append_deposit(&store, account(1)).await;
    let mut subscription =
        Subscription::builder(&reading).start_from(StartFrom::Now).subscribe().await.expect("it subscribes");
    let event = append_unflushed(&server.url(), &store).await;
    let given = next(&mut subscription).await;
    assert_eq!(given.id(), event.id());

    let server = crash(server).await;
    let after = connect(server.url()).await;
    let page = after.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.expect("a page");
    let ids: Vec<_> = page.events.iter().map(|event| event.id()).collect();
    assert!(ids.contains(&given.id()), "the subscriber has it, and the log has not");

    // The subscription outlives the crash.
    let position = append_deposit(&after, account(1)).await;
    assert_eq!(next(&mut subscription).await.position(), position);
}
