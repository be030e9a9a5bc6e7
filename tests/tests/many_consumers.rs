//! Many consumers in one process follow one SQLite file: they share commits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use es_core::{
    Append, ConsumerStore, EventStore, EventType, ExpectedVersion, HandlerError, NewEvent, Payload, Position,
    Projection, Reactor, Recorded, StreamId,
};
use es_e2e::server::Folder;
use es_projections::Runner;
use es_sqlite::{SqliteConnection, SqliteStore, sqlx};
use es_testkit::bank::AccountEvent;
use tokio::sync::oneshot;

const CONSUMERS: usize = 200;
const EVENTS: u64 = 20;

/// Counts the events that it has seen.
struct Counting {
    name: String,
}

impl Projection for Counting {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        &self.name
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        let create = "CREATE TABLE IF NOT EXISTS seen (name TEXT PRIMARY KEY, events INTEGER NOT NULL)";
        sqlx::query(create).execute(connection).await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut SqliteConnection, _: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let count = "INSERT INTO seen VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET events = events + 1";
        sqlx::query(count).bind(&self.name).execute(connection).await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query("DELETE FROM seen WHERE name = ?").bind(&self.name).execute(connection).await?;
        Ok(())
    }
}

struct Reacting {
    name: String,
    reactions: Arc<AtomicUsize>,
}

impl Reactor for Reacting {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        &self.name
    }

    async fn react(&self, _: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.reactions.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

async fn deposit(store: &SqliteStore) -> Position {
    let deposited = NewEvent::new(EventType::new("Deposited").unwrap(), Payload::from_json(r#"{"cents":1}"#).unwrap());
    let append = Append::to(StreamId::new("account", "ann").unwrap(), ExpectedVersion::Any, vec![deposited]);
    store.append(&append.build().unwrap()).await.unwrap().last_position
}

async fn until_all_are_at(store: &SqliteStore, position: Position) {
    let mut wakeups = store.wakeups();
    loop {
        let reached = store.checkpoints().await.unwrap();
        if reached.iter().filter(|checkpoint| checkpoint.position >= position).count() == CONSUMERS {
            return;
        }
        let next = tokio::time::timeout(es_sqlite::POLL_INTERVAL, wakeups.next()).await;
        drop(next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_consumers_share_commits() {
    let folder = Folder::new();
    let store = SqliteStore::open(folder.path("store.db")).await.unwrap();
    let reactions = Arc::new(AtomicUsize::new(0));
    let mut builder = Runner::builder(&store);
    for number in 0..CONSUMERS / 2 {
        builder = builder
            .projection(Counting { name: format!("counting_{number}") })
            .reactor(Reacting { name: format!("reacting_{number}"), reactions: Arc::clone(&reactions) });
    }
    let runner = builder.build().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(async move { runner.run(async { drop(stopped.await) }).await });
    let first = deposit(&store).await;
    until_all_are_at(&store, first).await;

    let commits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&commits);
    let mut work = store.begin().await.unwrap();
    work.connection().lock_handle().await.unwrap().set_commit_hook(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        true
    });
    drop(work);
    let start = Instant::now();
    let mut last = first;
    for _ in 0..EVENTS {
        last = deposit(&store).await;
    }
    until_all_are_at(&store, last).await;
    let (commits, time) = (commits.load(Ordering::SeqCst), start.elapsed());
    println!("{EVENTS} events reached {CONSUMERS} consumers in {time:?}, with {commits} commits");
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();

    // A commit for each consumer alone, if it took all events as one page, would be as many as there are consumers.
    assert!(commits < CONSUMERS, "{commits} commits");
    assert_eq!(reactions.load(Ordering::Relaxed) as u64, (EVENTS + 1) * CONSUMERS as u64 / 2);
    let mut work = store.begin().await.unwrap();
    let seen = "SELECT count(*) FROM seen WHERE events = ?";
    let complete: i64 = sqlx::query_scalar(seen).bind(EVENTS as i64 + 1).fetch_one(work.connection()).await.unwrap();
    assert_eq!(complete as usize, CONSUMERS / 2);
}
