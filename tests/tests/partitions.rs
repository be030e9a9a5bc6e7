//! Partitions of which most have nothing of a long stretch of the log.

use es_core::{Append, ConsumerName, EventStore, ExpectedVersion, NewEvent, PartitionStore, Position, StreamId, View};
use es_e2e::progress::STALL;
use es_e2e::server::{shared_postgres_url, unique_schema};
use es_postgres::PgOptions;
use es_projections::{ConsumerOptions, Runner};
use es_testkit::bank::{AccountEvent, Balance};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_has_nothing_of_whole_pages_goes_past_them() {
    let options = PgOptions::new(shared_postgres_url()).schema(unique_schema());
    let store = options.clone().connect().await.expect("the store opens");
    let stream = StreamId::new("account", "ann").expect("a valid stream");
    for _ in 0..6 {
        let event = || NewEvent::of(&AccountEvent::Deposited { cents: 1 }).expect("an event");
        let events = (0..1_000).map(|_| event()).collect();
        let append = Append::to(stream.clone(), ExpectedVersion::Any, events).build().expect("an append");
        store.append(&append).await.expect("it is stored");
    }
    // Another process, which does not know how far the first one has flushed.
    let store = options.connect().await.expect("the store opens again");
    let options = ConsumerOptions::default().partitions(4);
    let runner = Runner::builder(&store).view_with::<Balance>(options).build().expect("a runner");
    runner.catch_up().await.expect("it catches up");
    runner.wait_for(Balance::NAME, Position::new(6_000), STALL).await.expect("it is there");
    let name = ConsumerName::new(Balance::NAME).expect("a valid name");
    let all = store.partitions(&name).await.expect("the partitions can be read");
    assert_eq!(all.iter().map(|reached| reached.position.get()).collect::<Vec<_>>(), [6_000; 4]);
}
