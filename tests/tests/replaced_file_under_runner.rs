//! A SQLite file is replaced while a runner follows it. Trying again cannot help, so the runner stops and says what to do.
#![cfg(unix)]

use std::fs;

use es_core::{Append, EventStore, ExpectedVersion, Position};
use es_e2e::{
    progress::STALL,
    read_models::Groups,
    server::Folder,
    workload::{account, deposit},
};
use es_messaging::with_causes;
use es_projections::{ConsumerOptions, FailurePolicy, Runner};
use es_sqlite::SqliteStore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_stops_when_its_file_is_replaced_and_says_what_to_do() {
    let folder = Folder::new();
    let file = folder.path("shop.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    let append = async |cents| {
        let append =
            Append::to(account(1), ExpectedVersion::Any, vec![deposit(cents)]).build().expect("a valid append");
        store.append(&append).await
    };
    append(1).await.expect("it is appended");
    let options = ConsumerOptions::default().on_failure(FailurePolicy::Stop);
    let runner = Runner::builder(&store).view_with::<Groups>(options).build().expect("a valid runner");
    let running = tokio::spawn({
        let runner = runner.clone();
        async move { runner.run(std::future::pending()).await }
    });
    runner.wait_for("groups", Position::new(1), STALL).await.expect("it catches up");

    let other = folder.path("other.db");
    SqliteStore::open(&other).await.expect("another store opens").close().await.expect("it closes");
    fs::rename(&other, &file).expect("it takes the place of the first");

    let ended = tokio::time::timeout(STALL, running).await.expect("the runner ends").expect("it does not panic");
    let error = ended.expect_err("the file is another one");
    for error in [error, runner.health().await.expect_err("the status cannot be read either")] {
        let text = with_causes(&error);
        assert!(text.contains("was replaced") && text.contains("open the store again"), "{text}");
        assert!(!text.contains("did not answer"), "{text}");
    }
}
