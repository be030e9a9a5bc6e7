//! Importing, killed in the middle and repeated: the totals equal the file, to the cent.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use es_core::EventStore;
use es_postgres::PgStore;
use es_sqlite::SqliteStore;
use support::{Folder, fresh_postgres_database, import, kill, made_up_file, real_file, run, total};

/// A second pair of eyes on the store while the importer writes: how many events there are.
async fn head(store: &str) -> Option<u64> {
    let head = match store.strip_prefix("sqlite:") {
        Some(file) if Path::new(file).exists() => SqliteStore::open(file).await.ok()?.head().await,
        Some(_) => return None,
        None => PgStore::connect(store).await.ok()?.head().await,
    };
    head.ok().map(|position| position.get())
}

/// Starts an import and kills it once the store holds at least `events`.
async fn import_and_kill(store: &str, file: &Path, events: u64) {
    let mut child = import(store, file).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while head(store).await.is_none_or(|head| head < events) {
        assert!(child.try_wait().unwrap().is_none(), "the import ended before it could be killed");
        assert!(Instant::now() < deadline, "the import does not come to {events} events");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kill(child);
}

fn money(cents: i64) -> String {
    let whole = format!("{}", cents / 100);
    let mut grouped = String::new();
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    format!("{grouped}.{:02}", cents % 100)
}

async fn killed_twice_and_repeated(store: &str) {
    let folder = Folder::new();
    let seed = 20_261_121;
    println!("seed {seed}");
    let (file, (accounts, credits, debits)) = made_up_file(&folder, 2_000, seed);
    import_and_kill(store, &file, 300).await;
    import_and_kill(store, &file, 1_000).await;
    for _ in 0..2 {
        let output = run(&mut import(store, &file));
        assert_eq!(total(&output, "accounts"), (accounts.to_string(), accounts.to_string()));
        assert_eq!(total(&output, "transactions").1, "2000");
        assert_eq!(total(&output, "credits").1, money(credits));
        assert_eq!(total(&output, "debits").1, money(debits));
        // One event for each line, and one for the opening of each account: nothing is stored twice.
        assert_eq!(head(store).await, Some(2_000 + accounts as u64));
    }
}

#[tokio::test]
async fn an_import_into_sqlite_that_is_killed_and_repeated_stores_every_line_once() {
    let folder = Folder::new();
    killed_twice_and_repeated(&folder.sqlite()).await;
}

#[tokio::test]
async fn an_import_into_postgresql_that_is_killed_and_repeated_stores_every_line_once() {
    killed_twice_and_repeated(&fresh_postgres_database()).await;
}

async fn the_real_transactions(store: &str) {
    let Some(file) = real_file() else {
        println!("ES_BERKA_CSV names no file: the real transactions are not here, and the made-up ones stand for them");
        return;
    };
    import_and_kill(store, &file, 10_000).await;
    for _ in 0..2 {
        let output = run(&mut import(store, &file));
        println!("{output}");
        assert_eq!(total(&output, "accounts").1, "1229");
        assert_eq!(total(&output, "credits").1, "177 366 277.40");
        assert_eq!(total(&output, "debits").1, "138 120 153.50");
        assert_eq!(total(&output, "net").1, "39 246 123.90");
        assert_eq!(head(store).await, Some(49_101 + 1_229));
    }
}

#[tokio::test]
async fn the_real_transactions_add_up_to_the_cent_on_sqlite() {
    let folder = Folder::new();
    the_real_transactions(&folder.sqlite()).await;
}

#[tokio::test]
async fn the_real_transactions_add_up_to_the_cent_on_postgresql() {
    the_real_transactions(&fresh_postgres_database()).await;
}
