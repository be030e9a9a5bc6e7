//! Projections and views in the transaction of the append, and what a handler may not do.

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{SqliteLedger, TempFolder, append, deposited, event_of, opened, to};
use es_core::{
    Advance, Append, ConsumerName, ConsumerStore, ConsumerStoreExt, EventFilter, EventKey, EventStore, ExpectedVersion,
    HandlerError, LeaseStore, PageProjection as _, PageSize, Park, ParkFailure, Parking, Position, Projection,
    ProjectionError, ProjectionStore, Projector, Recorded, Snapshot, SnapshotStore, StoreError, StreamId, Unpark,
    Version,
};
use es_sqlite::{
    SqliteConnection, SqliteOptions, SqliteStore,
    sqlx::{self, Connection},
};
use es_testkit::bank::{AccountEvent, Balance};

async fn open_inline(folder: &TempFolder) -> SqliteStore {
    let options = SqliteOptions::new(folder.file()).inline_view::<Balance>();
    options.inline_projection(SqliteLedger::new("inline")).open().await.unwrap()
}

async fn positions(store: &SqliteStore, name: &str) -> Vec<u64> {
    SqliteLedger::new(name).rows(store).await.iter().map(|row| row.position).collect()
}

async fn checkpoint(store: &SqliteStore, name: &str) -> Option<u64> {
    let checkpoint = store.checkpoint(&ConsumerName::new(name).unwrap()).await.unwrap();
    checkpoint.map(|checkpoint| checkpoint.position.get())
}

async fn cents(store: &SqliteStore, id: &str) -> Option<i64> {
    store.view::<Balance>().get(id).await.unwrap().map(|balance| balance.cents)
}

/// What a runner would do: brings a projection up to date.
async fn catch_up<P: Projection<Connection = SqliteConnection>>(store: &SqliteStore, projection: P) {
    let projector = Projector::new(projection).unwrap();
    let name = es_core::PageProjection::name(&projector).clone();
    let from = store.checkpoint(&name).await.unwrap().map_or(Position::ZERO, |checkpoint| checkpoint.position);
    let filter = es_core::PageProjection::filter(&projector);
    let page = store.read_all(from, filter, PageSize::default()).await.unwrap();
    store.apply_page(&projector, &Advance::new(projector.name(), from, page.scanned_to), &page.events).await.unwrap();
}

#[tokio::test]
async fn an_inline_projection_and_view_are_up_to_date_when_append_returns() {
    let folder = TempFolder::new();
    let store = open_inline(&folder).await;
    append(&store, "ann", vec![opened(), deposited(5)]).await.unwrap();
    assert_eq!((positions(&store, "inline").await, cents(&store, "ann").await), (vec![1, 2], Some(5)));
    // What does not concern them moves their checkpoints all the same.
    let other = Append::to(StreamId::new("other", "1").unwrap(), ExpectedVersion::Any, vec![event_of("X", "{}")]);
    store.append(&other.build().unwrap()).await.unwrap();
    append(&store, "ann", vec![deposited(2)]).await.unwrap();
    assert_eq!((positions(&store, "inline").await, cents(&store, "ann").await), (vec![1, 2, 4], Some(7)));
    assert_eq!((checkpoint(&store, "inline").await, checkpoint(&store, "balance").await), (Some(4), Some(4)));
    append(&store, "ann", vec![event_of("Closed", "{}")]).await.unwrap();
    assert_eq!(cents(&store, "ann").await, None);
}

#[tokio::test]
async fn an_append_of_a_type_that_the_inline_code_does_not_know_is_stored_and_left_to_the_runner() {
    let folder = TempFolder::new();
    let store = open_inline(&folder).await;
    append(&store, "ann", vec![opened(), deposited(5)]).await.unwrap();
    append(&store, "ann", vec![deposited(1), event_of("Frozen", "{}")]).await.unwrap();
    append(&store, "ann", vec![deposited(2)]).await.unwrap();
    // They stand before the append, so that newer code receives the event.
    assert_eq!((positions(&store, "inline").await, cents(&store, "ann").await), (vec![1, 2], Some(5)));
    assert_eq!((checkpoint(&store, "inline").await, checkpoint(&store, "balance").await), (Some(2), Some(2)));
    assert_eq!(store.head().await.unwrap(), Position::new(5));
}

#[tokio::test]
async fn while_the_lease_of_an_inline_projection_is_seized_appends_leave_it_to_its_runner() {
    let folder = TempFolder::new();
    let store = open_inline(&folder).await;
    append(&store, "ann", vec![opened()]).await.unwrap();
    let name = ConsumerName::new("inline").unwrap();
    let lease = store.seize_lease(&name, "the swap", Duration::from_secs(600)).await.unwrap();
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    assert_eq!((checkpoint(&store, "inline").await, checkpoint(&store, "balance").await), (Some(1), Some(2)));
    store.release_lease(&name, lease).await.unwrap();
    catch_up(&store, SqliteLedger::new("inline")).await;
    append(&store, "ann", vec![deposited(2)]).await.unwrap();
    assert_eq!((positions(&store, "inline").await, checkpoint(&store, "inline").await), (vec![1, 2, 3], Some(3)));
}

#[tokio::test]
async fn a_repeated_or_refused_append_is_not_applied_again() {
    let folder = TempFolder::new();
    let store = open_inline(&folder).await;
    let first =
        Append::to(common::account("ann"), ExpectedVersion::NoStream, vec![opened(), deposited(5)]).build().unwrap();
    store.append(&first).await.unwrap();
    assert!(store.append(&first).await.unwrap().repeated);
    let conflict = to("ann", vec![deposited(1)]).and(common::account("bob"), ExpectedVersion::Exists, vec![opened()]);
    assert!(matches!(store.append(&conflict.build().unwrap()).await, Err(StoreError::Conflict { .. })));
    assert_eq!((positions(&store, "inline").await, cents(&store, "ann").await), (vec![1, 2], Some(5)));
    assert_eq!(store.head().await.unwrap(), Position::new(2));
}

#[tokio::test]
async fn after_an_append_of_a_process_that_does_not_know_it_the_projection_misses_nothing() {
    let folder = TempFolder::new();
    let knows = open_inline(&folder).await;
    let does_not = folder.store().await;
    append(&knows, "ann", vec![opened()]).await.unwrap();
    append(&does_not, "ann", vec![deposited(1)]).await.unwrap();
    append(&knows, "ann", vec![deposited(2)]).await.unwrap();
    // It is behind, so it is left to its runner.
    assert_eq!((positions(&knows, "inline").await, checkpoint(&knows, "inline").await), (vec![1], Some(1)));
    assert_eq!((cents(&knows, "ann").await, checkpoint(&knows, "balance").await), (Some(0), Some(1)));
    catch_up(&knows, SqliteLedger::new("inline")).await;
    append(&knows, "ann", vec![deposited(3)]).await.unwrap();
    assert_eq!((positions(&knows, "inline").await, checkpoint(&knows, "inline").await), (vec![1, 2, 3, 4], Some(4)));
}

#[tokio::test]
async fn a_projection_that_is_new_to_an_old_log_is_left_to_its_runner_first() {
    let folder = TempFolder::new();
    append(&folder.store().await, "ann", vec![opened(), deposited(1)]).await.unwrap();
    let store = open_inline(&folder).await;
    append(&store, "ann", vec![deposited(2)]).await.unwrap();
    assert_eq!((positions(&store, "inline").await, checkpoint(&store, "inline").await), (vec![], None));
    catch_up(&store, SqliteLedger::new("inline")).await;
    append(&store, "ann", vec![deposited(3)]).await.unwrap();
    assert_eq!(positions(&store, "inline").await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn units_of_work_and_append_in_apply_inline_projections_too() {
    let folder = TempFolder::new();
    let store = open_inline(&folder).await;
    let mut work = store.begin().await.unwrap();
    work.append(to("ann", vec![opened()]).build().unwrap()).unwrap();
    work.append(to("ann", vec![deposited(1)]).build().unwrap()).unwrap();
    work.commit().await.unwrap();
    let mut connection = folder.connection().await;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    store.append_in(&mut transaction, &to("ann", vec![deposited(2)]).build().unwrap()).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!((positions(&store, "inline").await, cents(&store, "ann").await), (vec![1, 2, 3], Some(3)));

    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    store.append_in(&mut transaction, &to("ann", vec![deposited(4)]).build().unwrap()).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!((positions(&store, "inline").await, cents(&store, "ann").await), (vec![1, 2, 3], Some(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appends_are_each_applied_once_and_in_order() {
    let folder = TempFolder::new();
    let store = open_inline(&folder).await;
    let writers = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                append(&store, &format!("a{number}"), vec![deposited(1), deposited(2)]).await.unwrap();
            }
        })
    });
    for writer in futures_util::future::join_all(writers).await {
        writer.unwrap();
    }
    assert_eq!(positions(&store, "inline").await, (1..=320).collect::<Vec<_>>());
    assert_eq!(cents(&store, "a3").await, Some(60));
}

/// How a handler misbehaves.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Misdeed {
    Fail,
    Panic,
    LeaveNestedOpen,
    LeaveNestedOpenAndFail,
    Rollback,
    RollbackAndFail,
}

/// A projection that writes, and then misbehaves for as long as it is told to.
struct Misbehaving {
    misdeed: Misdeed,
    is_on: Arc<AtomicBool>,
}

impl Projection for Misbehaving {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "misbehaving"
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        SqliteLedger::new("misbehaving").prepare(connection).await
    }

    async fn apply(
        &self,
        connection: &mut SqliteConnection,
        event: &Recorded<AccountEvent>,
    ) -> Result<(), HandlerError> {
        SqliteLedger::new("misbehaving").apply(connection, event).await?;
        if self.is_on.load(Ordering::Relaxed) {
            match self.misdeed {
                Misdeed::Fail => sqlx::query("SELECT * FROM no_such_table").execute(connection).await.map(drop)?,
                Misdeed::Panic => panic!("a handler that panics, on purpose"),
                Misdeed::LeaveNestedOpen => std::mem::forget(connection.begin().await?),
                Misdeed::Rollback => sqlx::query("ROLLBACK").execute(connection).await.map(drop)?,
                Misdeed::RollbackAndFail => {
                    sqlx::query("ROLLBACK").execute(&mut *connection).await?;
                    sqlx::query("SELECT * FROM no_such_table").execute(connection).await?;
                }
                Misdeed::LeaveNestedOpenAndFail => {
                    std::mem::forget(connection.begin().await?);
                    sqlx::query("SELECT * FROM no_such_table").execute(connection).await?;
                }
            }
        }
        Ok(())
    }

    async fn clear(&self, _: &mut SqliteConnection) -> Result<(), HandlerError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_handler_that_fails_does_not_fail_the_append_and_is_left_to_its_runner() {
    use Misdeed::*;
    for misdeed in [Fail, Panic, LeaveNestedOpen, LeaveNestedOpenAndFail] {
        let folder = TempFolder::new();
        let is_on = Arc::new(AtomicBool::new(true));
        let projection = || Misbehaving { misdeed, is_on: Arc::clone(&is_on) };
        let options = SqliteOptions::new(folder.file()).inline_projection(projection());
        let store = options.inline_projection(SqliteLedger::new("inline")).open().await.unwrap();
        append(&store, "ann", vec![opened()]).await.unwrap();
        assert_eq!((positions(&store, "misbehaving").await, checkpoint(&store, "misbehaving").await), (vec![], None));
        is_on.store(false, Ordering::Relaxed);
        append(&store, "ann", vec![deposited(1)]).await.unwrap();
        assert_eq!(
            positions(&store, "misbehaving").await,
            [] as [u64; 0],
            "{misdeed:?}: it would miss the first event"
        );
        catch_up(&store, projection()).await;
        append(&store, "ann", vec![deposited(1)]).await.unwrap();
        assert_eq!(positions(&store, "misbehaving").await, [1, 2, 3], "{misdeed:?}");
        // The others went on all the time.
        assert_eq!(positions(&store, "inline").await, [1, 2, 3], "{misdeed:?}");
    }
}

#[tokio::test]
async fn a_page_whose_handler_misuses_the_transaction_is_not_applied_and_does_no_lasting_harm() {
    use Misdeed::*;
    for misdeed in [Fail, LeaveNestedOpen, LeaveNestedOpenAndFail, Rollback, RollbackAndFail] {
        let folder = TempFolder::new();
        let store = folder.store().await;
        append(&store, "ann", vec![opened()]).await.unwrap();
        let is_on = Arc::new(AtomicBool::new(true));
        let projector = Projector::new(Misbehaving { misdeed, is_on: Arc::clone(&is_on) }).unwrap();
        store.prepare_projection(&projector).await.unwrap();
        let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
        for _ in 0..3 {
            assert!(
                store
                    .apply_page(
                        &projector,
                        &Advance::new(projector.name(), Position::ZERO, page.scanned_to),
                        &page.events
                    )
                    .await
                    .is_err(),
                "{misdeed:?}"
            );
            assert_eq!(
                (positions(&store, "misbehaving").await, checkpoint(&store, "misbehaving").await),
                (vec![], None)
            );
        }
        is_on.store(false, Ordering::Relaxed);
        store
            .apply_page(&projector, &Advance::new(projector.name(), Position::ZERO, page.scanned_to), &page.events)
            .await
            .unwrap();
        append(&store, "ann", vec![deposited(1)]).await.unwrap();
        assert_eq!(positions(&store, "misbehaving").await, [1], "{misdeed:?}");
    }
}

/// A projection that writes to its own store.
#[derive(Clone, Default)]
struct Selfish {
    store: Arc<Mutex<Option<SqliteStore>>>,
    answers: Arc<Mutex<Vec<StoreError>>>,
}

impl Projection for Selfish {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "selfish"
    }

    async fn apply(&self, _: &mut SqliteConnection, _: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let store = self.store.lock().unwrap().clone();
        let Some(store) = store else { return Ok(()) };
        let name = ConsumerName::new("any").unwrap();
        let id = uuid::Uuid::now_v7();
        let snapshot = Snapshot::new(
            common::account("x"),
            "Account",
            Version::new(1),
            id,
            String::new(),
            es_core::Payload::trusted("1"),
        );
        for result in [
            append(&store, "bob", vec![opened()]).await.map(drop),
            store.begin().await.map(drop),
            store.move_checkpoint(&Advance::new(&name, Position::ZERO, Position::new(1))).await,
            store.prepare_view(&name).await,
            store.save_snapshot(&snapshot).await,
        ] {
            self.answers.lock().unwrap().push(result.unwrap_err());
        }
        // Reading is welcome.
        store.head().await?;
        append(&store, "bob", vec![opened()]).await?;
        Ok(())
    }

    async fn clear(&self, _: &mut SqliteConnection) -> Result<(), HandlerError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_handler_that_writes_to_its_own_store_is_refused_and_told_why() {
    let folder = TempFolder::new();
    let selfish = Selfish::default();
    let store = SqliteOptions::new(folder.file()).inline_projection(selfish.clone()).open().await.unwrap();
    // Inline, and by another handle to the same file, which would wait just as well.
    *selfish.store.lock().unwrap() = Some(folder.store().await);
    append(&store, "ann", vec![opened()]).await.unwrap();
    assert_eq!((store.head().await.unwrap(), checkpoint(&store, "selfish").await), (Position::new(1), None));

    let projector = Projector::new(selfish.clone()).unwrap();
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    let refused = store
        .apply_page(&projector, &Advance::new(projector.name(), Position::ZERO, page.scanned_to), &page.events)
        .await;
    let Err(ProjectionError::Handler { source, position, .. }) = &refused else { panic!("{refused:?}") };
    assert!(source.to_string().contains("cannot write to its own store"), "{source}");
    assert_eq!(*position, Some(Position::new(1)));

    let answers = std::mem::take(&mut *selfish.answers.lock().unwrap());
    assert_eq!(answers.len(), 10);
    assert!(answers.iter().all(|answer| matches!(answer, StoreError::Refused { .. })), "{answers:?}");
    assert_eq!(store.head().await.unwrap(), Position::new(1));

    // Another store is another matter.
    let elsewhere = TempFolder::new();
    *selfish.store.lock().unwrap() = None;
    let other = elsewhere.store().await;
    append(&other, "ann", vec![opened()]).await.unwrap();
    store
        .apply_page(&projector, &Advance::new(projector.name(), Position::ZERO, page.scanned_to), &page.events)
        .await
        .unwrap();
}

#[tokio::test]
async fn unusable_inline_projections_are_refused_when_the_store_is_opened() {
    let folder = TempFolder::new();
    let twice = SqliteOptions::new(folder.file())
        .inline_projection(SqliteLedger::new("same"))
        .inline_projection(SqliteLedger::new("same"));
    assert!(matches!(twice.open().await, Err(StoreError::Refused { reason }) if reason.contains("same name")));
    let bad_name = SqliteOptions::new(folder.file()).inline_projection(SqliteLedger::new("Bad Name"));
    assert!(matches!(bad_name.open().await, Err(StoreError::InvalidName(_))));
}

#[tokio::test]
async fn while_anything_is_parked_an_append_leaves_the_read_model_to_its_runner() {
    let folder = TempFolder::new();
    let store = open_inline(&folder).await;
    append(&store, "ann", vec![opened(), deposited(5)]).await.unwrap();
    let (view, key) = (ConsumerName::new("balance").unwrap(), EventKey::document("ann").unwrap());
    let here = || Advance::new(&view, Position::new(2), Position::new(2));
    let park = vec![Park::failed(key.clone(), Position::new(2), ParkFailure::new("no room", 1))];
    store.move_checkpoint(&here().with_parking(Parking::of(park))).await.unwrap();
    append(&store, "ann", vec![deposited(7)]).await.unwrap();
    assert_eq!((checkpoint(&store, "balance").await, cents(&store, "ann").await), (Some(2), Some(5)));
    assert_eq!(checkpoint(&store, "inline").await, Some(3), "another read model is none the worse");
    let unpark = vec![Unpark { key, position: Position::new(2) }];
    store.move_checkpoint(&here().with_parking(Parking::default().and_unpark(unpark))).await.unwrap();
    store.move_checkpoint(&Advance::new(&view, Position::new(2), Position::new(3))).await.unwrap();
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    assert_eq!((checkpoint(&store, "balance").await, cents(&store, "ann").await), (Some(4), Some(6)));
}
