//! Sixteen writers and readers, while one append is frozen between its insert and its commit: nothing is skipped,
//! nothing is read twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use es_core::{Append, EventFilter, EventStore, EventType, ExpectedVersion, NewEvent, PageSize, Payload, Position};
use es_e2e::{
    server::{shared_postgres_url, unique_schema},
    workload::{Workload, account},
};
use es_postgres::{PgOptions, PgStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const WRITERS: usize = 16;
/// The key of the lock on which the frozen insert waits.
const ICE: i64 = 4_711;

/// An event whose insert waits until the lock `ICE` is free.
fn frozen_append() -> Append {
    let event = NewEvent::new(EventType::new("Frozen").unwrap(), Payload::from_json("{}").unwrap());
    Append::to(account(1), ExpectedVersion::Any, vec![event]).build().unwrap()
}

async fn install_the_trigger(connection: &mut PgConnection, schema: &str) {
    for statement in [
        format!(
            "CREATE FUNCTION {schema}.hold_frozen() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared({ICE}); RETURN NEW; END $$"
        ),
        format!(
            "CREATE TRIGGER hold_frozen AFTER INSERT ON {schema}.events FOR EACH ROW
             WHEN (NEW.type = 'Frozen') EXECUTE FUNCTION {schema}.hold_frozen()"
        ),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await.unwrap();
    }
}

/// Reads page by page, as a consumer does that keeps a checkpoint, until it is over and everything is read.
async fn read(workload: Workload, store: PgStore, name: String, filter: EventFilter, is_over: Arc<AtomicBool>) {
    let mut after = Position::ZERO;
    loop {
        let over = is_over.load(Ordering::Relaxed);
        let size = PageSize::new(1 + workload.random.below(50) as usize).unwrap();
        let page = store.read_all(after, &filter, size).await.unwrap();
        workload.history.read(&name, &filter, after, &page);
        if page.scanned_to == after {
            if over {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        after = page.scanned_to;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_skips_nothing_while_an_append_is_frozen_before_its_commit() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let options = || PgOptions::new(&url).schema(&schema).lock_timeout(Duration::from_millis(500));
    let store = options().max_connections(12).connect().await.unwrap();
    let mut ice = PgConnection::connect(&url).await.unwrap();
    install_the_trigger(&mut ice, &schema).await;

    let workload = Workload::new();
    let (writing_is_over, reading_is_over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (workload, store, is_over) = (workload.clone(), store.clone(), Arc::clone(&writing_is_over));
            tokio::spawn(async move { workload.write(&store, || is_over.load(Ordering::Relaxed)).await })
        })
        .collect();
    let reading_store = options().max_connections(4).connect().await.unwrap();
    let readers: Vec<_> = [
        EventFilter::all(),
        EventFilter::all().or_type("account", "Frozen"),
        EventFilter::all().or_stream(account(3)).or_stream(account(4)),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, filter)| {
        let (workload, store, is_over) = (workload.clone(), reading_store.clone(), Arc::clone(&reading_is_over));
        tokio::spawn(read(workload, store, format!("reader {n}"), filter, is_over))
    })
    .collect();

    for round in 0..6 {
        // Some appends go through, then one freezes with its row inserted and its transaction open.
        let target = workload.acknowledged() + 40;
        while workload.acknowledged() < target {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sqlx::query("SELECT pg_advisory_lock($1)").bind(ICE).execute(&mut ice).await.unwrap();
        let append = frozen_append();
        let freezing = {
            let (store, append) = (store.clone(), append.clone());
            tokio::spawn(async move {
                loop {
                    match store.append(&append).await {
                        Err(es_core::StoreError::Busy { .. }) => {}
                        result => return result,
                    }
                }
            })
        };
        // It is frozen when it waits for the lock.
        let waiting =
            "SELECT max(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::bigint::oid AND NOT granted";
        let pid: i32 = loop {
            if let Some(pid) = sqlx::query_scalar(waiting).bind(ICE).fetch_one(&mut ice).await.unwrap() {
                break pid;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        let is_rolled_back = round % 2 == 1;
        if is_rolled_back {
            sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&mut ice).await.unwrap();
        }
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(ICE).execute(&mut ice).await.unwrap();
        match freezing.await.unwrap() {
            Ok(appended) => workload.history.acknowledged(&append, &appended),
            Err(error) if is_rolled_back => {
                println!("round {round}: the frozen append was terminated: {error}");
                workload.history.unacknowledged(&append);
            }
            Err(error) => panic!("the frozen append failed: {error:?}"),
        }
    }

    writing_is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    reading_is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    let log = workload.check(&store).await;
    println!("{} appends, {} events", workload.acknowledged(), log.len());
}
