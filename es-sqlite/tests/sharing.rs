//! Several stores on one file, locks, and dropped futures.

mod common;

use std::{sync::Arc, time::Duration};

use common::{TempFolder, account, append, connect, deposited, opened, to};
use es_core::{
    Advance, ConsumerName, ConsumerStore, EventFilter, EventPage, EventStore, HandlerError, PageProjection, PageSize,
    Position, Projection, ProjectionStore, Projector, Recorded, StoreError, Version,
};
use es_sqlite::{SqliteConnection, SqliteOptions, SqliteStore, sqlx};
use es_testkit::{SeededRng, bank::AccountEvent};
use tokio::sync::Notify;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_handles_on_one_file_write_one_log() {
    let folder = TempFolder::new();
    let handles = [folder.store().await, folder.store().await];
    let writers = handles.iter().cloned().enumerate().map(|(number, store)| {
        tokio::spawn(async move {
            for _ in 0..100 {
                append(&store, "shared", vec![deposited(number as i64)]).await.unwrap();
            }
        })
    });
    for writer in futures_util::future::join_all(writers).await {
        writer.unwrap();
    }
    for store in &handles {
        let page = store.read_stream(&account("shared"), Version::ZERO, PageSize::default()).await.unwrap();
        let versions: Vec<_> = page.events.iter().map(|event| event.version().get()).collect();
        assert_eq!(versions, (1..=200).collect::<Vec<_>>());
        assert!(page.events.iter().all(|event| event.position().get() == event.version().get()));
    }
}

#[tokio::test]
async fn appends_of_one_process_share_commits() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let work = store.begin().await.unwrap();
    let waiting: Vec<_> = (0..64)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { append(&store, &format!("a{number}"), vec![deposited(number)]).await })
        })
        .collect();
    // Each is asked once, and so comes to wait for the unit of work; the next transaction takes them all.
    tokio::task::yield_now().await;
    drop(work);
    let done = futures_util::future::join_all(waiting).await;
    // Each transaction has one time of recording.
    let times: std::collections::BTreeSet<_> = done.into_iter().map(|one| one.unwrap().unwrap().recorded_at).collect();
    assert_eq!(times.len(), 1);
    assert_eq!(store.head().await.unwrap(), Position::new(64));
}

#[tokio::test]
async fn a_lock_held_for_longer_than_the_busy_timeout_is_busy_and_nothing_is_stored() {
    let folder = TempFolder::new();
    let store = SqliteOptions::new(folder.file()).busy_timeout(Duration::from_millis(50)).open().await.unwrap();
    let mut other = folder.connection().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();

    let first = to("ann", vec![opened()]).build().unwrap();
    let name = ConsumerName::new("one").unwrap();
    for result in [
        store.append(&first).await.map(drop),
        store.begin().await.map(drop),
        store.move_checkpoint(&Advance::new(&name, Position::ZERO, Position::new(1))).await,
        store.prepare_view(&name).await,
        store.save_documents(&Advance::new(&name, Position::ZERO, Position::new(1)), &[]).await,
    ] {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, StoreError::Busy { waiting_for, .. } if waiting_for.contains("write lock")),
            "{error:?}"
        );
        assert!(error.is_transient());
    }
    // Reading goes on meanwhile.
    assert_eq!(store.head().await.unwrap(), Position::ZERO);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(!store.append(&first).await.unwrap().repeated);
    assert_eq!(store.checkpoints().await.unwrap(), []);
}

#[tokio::test]
async fn a_read_waits_for_a_free_reader_no_longer_than_the_busy_timeout() {
    let folder = TempFolder::new();
    let options = SqliteOptions::new(folder.file()).readers(1).busy_timeout(Duration::from_millis(50));
    let store = options.open().await.unwrap();
    let mut first = std::pin::pin!(store.head());
    // Asked once, it has the only reader, and keeps it until it is asked again.
    let poll = std::future::poll_fn(|context| std::task::Poll::Ready(first.as_mut().poll(context)));
    assert!(poll.await.is_pending());
    let second = tokio::time::timeout(Duration::from_secs(20), store.checkpoints()).await.unwrap();
    assert!(
        matches!(&second, Err(StoreError::Busy { waiting_for, .. }) if waiting_for.contains("1 readers")),
        "{second:?}"
    );
    assert_eq!(first.await.unwrap(), Position::ZERO);
    assert_eq!(store.checkpoints().await.unwrap(), []);
}

#[tokio::test]
async fn a_full_disk_stores_nothing_says_so_and_passes() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let one = to("ann", (0..500).map(deposited).collect()).build().unwrap();
    // The connection that writes stays the same, so the unit of work can set its bounds.
    let bound = async |pages: u32| {
        let mut work = store.begin().await.unwrap();
        let pragma = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(pragma).execute(work.connection()).await.unwrap();
    };
    bound(1).await;
    let (first, second) = (to("bob", (0..500).map(deposited).collect()).build().unwrap(), deposited(1));
    let (one_result, other) = tokio::join!(store.append(&one), store.append(&first));
    for result in [one_result, other, append(&store, "cid", (0..500).map(deposited).chain([second]).collect()).await] {
        assert!(matches!(&result, Err(StoreError::Setup { remedy, .. }) if remedy.contains("room")), "{result:?}");
    }
    assert_eq!(store.head().await.unwrap(), Position::ZERO);
    bound(1_000_000).await;
    assert_eq!(store.append(&one).await.unwrap().first_position, Position::new(1));
}

#[tokio::test]
async fn reading_never_waits_for_a_writer() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![opened()]).await.unwrap();
    let mut work = store.begin().await.unwrap();
    sqlx::query("DELETE FROM es_events").execute(work.connection()).await.unwrap();
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    assert_eq!((page.events.len(), page.durable_to), (1, Position::new(1)));
}

#[tokio::test]
async fn an_append_of_another_handle_wakes_a_reader() {
    let folder = TempFolder::new();
    let (reader, writer) = (folder.store().await, folder.store().await);
    let mut wakeups = reader.wakeups();
    append(&writer, "ann", vec![opened()]).await.unwrap();
    let hinted = tokio::time::timeout(Duration::from_secs(20), wakeups.next()).await.unwrap();
    assert_eq!(hinted, Position::new(1));
    append(&writer, "ann", vec![deposited(1)]).await.unwrap();
    let hinted = tokio::time::timeout(Duration::from_secs(20), wakeups.next()).await.unwrap();
    assert_eq!(hinted, Position::new(2));
    // The task ends with its last listener, and starts again with the next one.
    drop(wakeups);
    while reader_is_watching(&reader) {
        tokio::time::sleep(es_sqlite::POLL_INTERVAL).await;
    }
    let mut wakeups = reader.wakeups();
    append(&writer, "ann", vec![deposited(1)]).await.unwrap();
    let hinted = tokio::time::timeout(Duration::from_secs(20), wakeups.next()).await.unwrap();
    assert_eq!(hinted, Position::new(3));
}

/// Whether the store's task still runs: there is no other task in a test's runtime.
fn reader_is_watching(_: &SqliteStore) -> bool {
    tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0
}

#[tokio::test]
async fn a_dropped_store_ends_its_task_and_closes_its_file() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let wakeups = store.wakeups();
    append(&store, "ann", vec![opened()]).await.unwrap();
    drop(store);
    while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
        tokio::time::sleep(es_sqlite::POLL_INTERVAL).await;
    }
    drop(wakeups);
    // Each connection closes on a thread of its own, a moment later.
    while is_open(folder.path()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether this process has a file in a folder open; always false where the system does not tell.
fn is_open(folder: &std::path::Path) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    open.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file.starts_with(folder))
}

#[tokio::test]
async fn a_closed_store_leaves_its_file_alone() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![opened()]).await.unwrap();
    assert!(folder.path().join("test.db-wal").exists());
    assert_eq!(store.head().await.unwrap(), Position::new(1));
    store.close().await.unwrap();
    assert!(!is_open(folder.path()));
    assert!(!folder.path().join("test.db-wal").exists(), "the write-ahead log is in the file");
}

/// A projection that stops inside its handler until it is told to go on.
struct Stopping {
    entered: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Projection for Stopping {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "stopping"
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query("CREATE TABLE IF NOT EXISTS stopping (position INTEGER)").execute(connection).await?;
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut SqliteConnection,
        event: &Recorded<AccountEvent>,
    ) -> Result<(), HandlerError> {
        let insert = sqlx::query("INSERT INTO stopping VALUES (?)").bind(event.position().get() as i64);
        insert.execute(connection).await?;
        self.entered.notify_one();
        self.go_on.notified().await;
        Ok(())
    }

    async fn clear(&self, _: &mut SqliteConnection) -> Result<(), HandlerError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_page_dropped_inside_its_handler_frees_the_lock_for_other_processes_at_once() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![opened()]).await.unwrap();
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let projector = Projector::new(Stopping { entered: Arc::clone(&entered), go_on: Arc::clone(&go_on) }).unwrap();
    store.prepare_projection(&projector).await.unwrap();
    let advance = Advance::new(projector.name(), Position::ZERO, page.scanned_to);
    tokio::select! {
        biased;
        result = store.apply_page(&projector, &advance, &page.events) => panic!("{result:?}"),
        () = entered.notified() => {}
    }
    // Another connection, so that it is not this store's next use of the writer that cleans up.
    let mut other = folder.connection().await;
    sqlx::query("INSERT INTO stopping VALUES (-1)").execute(&mut other).await.unwrap();
    assert_eq!(store.checkpoints().await.unwrap(), []);
    let rows: Vec<i64> = sqlx::query_scalar("SELECT position FROM stopping").fetch_all(&mut other).await.unwrap();
    assert_eq!(rows, [-1]);

    go_on.notify_one();
    store
        .apply_page(&projector, &Advance::new(projector.name(), Position::ZERO, page.scanned_to), &page.events)
        .await
        .unwrap();
    assert_eq!(store.checkpoint(projector.name()).await.unwrap().unwrap().position, Position::new(1));
}

#[tokio::test]
async fn calls_dropped_at_any_moment_leave_the_store_whole() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let rng = SeededRng::from_env();
    let view = ConsumerName::new("dropped").unwrap();
    let mut stored = 0;
    for round in 0..200 {
        let one = to("ann", vec![deposited(round), deposited(round)]).build().unwrap();
        let polls = rng.below(6);
        let dropped = poll_a_few_times(store.append(&one), polls).await;
        // Sent again, it is stored once, whether or not the first sending arrived.
        let again = store.append(&one).await.unwrap();
        stored += 2;
        assert_eq!(again.last_position, Position::new(stored), "round {round}, {polls} polls, {dropped:?}");

        let from = store.checkpoint(&view).await.unwrap().map_or(Position::ZERO, |checkpoint| checkpoint.position);
        let change =
            es_core::DocumentChange { key: "k".to_owned(), body: Some(es_core::Payload::trusted(round.to_string())) };
        poll_a_few_times(
            store.save_documents(&Advance::new(&view, from, from.advanced_by(1)), &[change]),
            rng.below(6),
        )
        .await;
        poll_a_few_times(store.begin(), rng.below(4)).await;
        if let Ok(mut work) = store.begin().await {
            work.append(to("bob", vec![deposited(1)]).build().unwrap()).unwrap();
            let before = store.head().await.unwrap();
            poll_a_few_times(work.commit(), rng.below(6)).await;
            // Waits for the outcome of the dropped commit.
            drop(store.begin().await.unwrap());
            let after = store.head().await.unwrap();
            assert!(after == before || after == before.advanced_by(1));
            stored = after.get();
        }
    }
    let mut other = connect(store.path()).await;
    let check: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut other).await.unwrap();
    assert_eq!(check, "ok");
}

/// Polls a future at most so many times, then drops it.
async fn poll_a_few_times<T>(future: impl Future<Output = T>, polls: u64) -> Option<T> {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let poll = std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context)));
        if let std::task::Poll::Ready(output) = poll.await {
            return Some(output);
        }
        tokio::time::sleep(Duration::from_micros(50)).await;
    }
    None
}

#[test]
fn a_runtime_that_is_shut_down_does_not_take_the_writer_with_it() {
    let folder = TempFolder::new();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let store = first.block_on(folder.store());
    for round in 0..50_u64 {
        let stopped = runtime();
        let in_it = store.clone();
        let one = to("ann", vec![deposited(round as i64)]).build().unwrap();
        let same = one.clone();
        let handle = stopped.spawn(async move { in_it.append(&same).await });
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_micros(20 * round));
        }
        stopped.shutdown_background();
        drop(handle);
        // It may have been taken along by the task that was stopped: then the outcome is unknown, and it is sent again.
        let again = loop {
            match first.block_on(store.append(&one)) {
                Err(StoreError::Unavailable { .. }) => {}
                result => break result.unwrap(),
            }
        };
        assert_eq!(again.last_position, Position::new(round + 1));
    }
}

#[tokio::test]
async fn positions_and_versions_beyond_the_databases_range_are_answered() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![opened()]).await.unwrap();
    let (far, page) = (u64::MAX, PageSize::new(1).unwrap());
    let stream = store.read_stream(&account("ann"), Version::new(far), page).await.unwrap();
    assert_eq!((stream.events.len(), stream.is_last), (0, true));
    for filter in [EventFilter::all(), EventFilter::all().or_category("account").or_stream(account("ann"))] {
        let all = store.read_all(Position::new(far), &filter, page).await.unwrap();
        assert_eq!((all.events.len(), all.scanned_to), (0, Position::new(far)));
    }
    let name = ConsumerName::new("one").unwrap();
    let over = store.move_checkpoint(&Advance::new(&name, Position::ZERO, Position::new(far))).await;
    assert!(matches!(over, Err(StoreError::LimitExceeded { actual: u64::MAX, .. })), "{over:?}");
    let moved = store.move_checkpoint(&Advance::new(&name, Position::new(far), Position::new(1))).await;
    assert!(matches!(moved, Err(StoreError::CheckpointMoved { actual: Position::ZERO, .. })), "{moved:?}");
    let over = store.start_checkpoint(&name, Position::new(far)).await;
    assert!(matches!(over, Err(StoreError::LimitExceeded { .. })), "{over:?}");
    let page = EventPage::new(Vec::new(), Position::new(far), Position::ZERO);
    let (entered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let projector = Projector::new(Stopping { entered, go_on }).unwrap();
    assert!(
        store
            .apply_page(&projector, &Advance::new(projector.name(), Position::ZERO, page.scanned_to), &page.events)
            .await
            .is_err()
    );
    assert_eq!(store.checkpoints().await.unwrap(), []);
}
