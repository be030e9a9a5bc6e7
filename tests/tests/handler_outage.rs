//! The server ends the connection with which a handler writes: the event is not to blame, so that even a consumer that stops at
//! its first failure goes on.

use std::time::Duration;

use es_core::{Append, EventStore, ExpectedVersion, PageSize, Position};
use es_e2e::{
    processes::GATED_AT,
    progress::{Progress, STALL},
    server::{Folder, shared_postgres_url, unique_schema},
    traces::{Gate, PgTrace, Place},
    workload::{account, deposit},
};
use es_postgres::PgOptions;
use es_projections::{ConsumerOptions, FailurePolicy, Runner};
use sqlx::{Connection, PgConnection};

const NAME: &str = "trace";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_stops_at_its_first_failure_goes_on_after_its_handlers_connection_was_ended() {
    let (url, schema, folder) = (shared_postgres_url(), unique_schema(), Folder::new());
    // The program's name tells its sessions from those of other tests.
    let own_url = format!("{url}?application_name={schema}");
    let store = PgOptions::new(&own_url).schema(&schema).max_connections(3).connect().await.expect("the store opens");
    let events = (0..5).map(deposit).collect();
    let append = Append::to(account(1), ExpectedVersion::Any, events).build().expect("a valid append");
    store.append(&append).await.expect("it is appended");
    let gate = Gate::before(Position::new(GATED_AT), folder.root(), "own");
    let trace = PgTrace { name: NAME, schema: schema.clone(), process: "own".to_owned(), gate };
    // A page of several events would be tried again in parts, to find out which one failed.
    let page_size = PageSize::new(1).expect("a valid size");
    let options = ConsumerOptions::default().on_failure(FailurePolicy::Stop).page_size(page_size);
    let runner = Runner::builder(&store).projection_with(trace, options).build().expect("a valid runner");
    let running = tokio::spawn({
        let runner = runner.clone();
        async move { runner.run(std::future::pending()).await }
    });

    let mut progress = Progress::new();
    while !Gate::is_reached(folder.root(), "own") {
        progress.note("the handler does not come to its gate");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut administrator = PgConnection::connect(&url).await.expect("the server accepts connections");
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name = $1 AND state = 'idle in transaction'";
    let ended: i64 = sqlx::query_scalar(end).bind(&schema).fetch_one(&mut administrator).await.expect("it is ended");
    assert_eq!(ended, 1);
    Gate::open(folder.root(), "own");

    let arrived = runner.wait_for(NAME, Position::new(5), STALL).await;
    assert!(Gate::refusal(folder.root(), "own").is_some(), "the handler noticed nothing");
    arrived.expect("it goes on");
    running.abort();
    let place = Place::Postgres { url, schema };
    let positions: Vec<u64> = place.trace(NAME).await.iter().map(|applied| applied.position.get()).collect();
    assert_eq!(positions, [1, 2, 3, 4, 5]);
}
