//! A store that is used after the runtime in which it was connected has ended: each call says so.

mod common;

use common::Schema;
use es_core::{
    Aggregate, ConsumerStore, Diagnostics, DomainEvent, EventFilter, EventStore, ExecuteError, LoadError, PageSize,
    Position, Repository, StoreError, Version,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Event {
    Added,
}

impl DomainEvent for Event {
    const CATEGORY: &'static str = "count";
}

#[derive(Debug, Default, Clone)]
struct Count(u64);

impl Aggregate for Count {
    type Event = Event;
    type Command = ();
    type Error = std::convert::Infallible;

    fn handle(&self, (): &()) -> Result<Vec<Event>, Self::Error> {
        Ok(vec![Event::Added])
    }

    fn apply(&mut self, Event::Added: &Event) {
        self.0 += 1;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn after_its_runtime_has_ended_every_call_of_a_store_says_so() {
    let schema = Schema::new();
    let first = runtime();
    let store = first.block_on(schema.store());
    let counts = Repository::<Count>::new(&store);
    first.block_on(async { counts.execute("a", ()).await.map(drop) }).unwrap();
    drop(first);
    runtime().block_on(async {
        let stream = counts.stream_id("a").unwrap();
        let load = match counts.load("a").await {
            Err(LoadError::Store(error)) => error,
            other => panic!("{other:?}"),
        };
        let execute = match counts.execute("a", ()).await {
            Err(ExecuteError::Store(error)) => error,
            other => panic!("{other:?}"),
        };
        let errors = [
            load,
            execute,
            store.head().await.unwrap_err(),
            store.read_stream(&stream, Version::ZERO, PageSize::default()).await.unwrap_err(),
            store.read_tail(&stream, Version::ZERO).await.unwrap_err(),
            store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap_err(),
            store.checkpoints().await.unwrap_err(),
            store.waiting_on().await.unwrap_err(),
            store.begin().await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
            assert!(error.to_string().contains("the runtime in which it was connected has ended"), "{error}");
        }
    });
    // A store of the new runtime is not concerned.
    runtime().block_on(async { assert_eq!(schema.store().await.head().await.unwrap(), Position::new(1)) });
}
