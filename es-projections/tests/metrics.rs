//! What a recorder of the application's is told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use es_core::{
    Append, EventStore, EventType, ExpectedVersion, MemoryStore, NewEvent, OperatorRequest, Payload, StreamId,
};
use es_projections::{Runner, metrics as names};
use es_testkit::bank::Balance;
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Remembers the latest value of each gauge and counter, by name and labels.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Arc<Value>>>);

#[derive(Default)]
struct Value(AtomicU64);

impl CounterFn for Value {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::SeqCst);
    }
}

impl GaugeFn for Value {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        self.0.store(value as u64, Ordering::SeqCst);
    }
}

impl Memory {
    fn value(&self, key: &Key) -> Arc<Value> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let text = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::clone(self.0.lock().unwrap().entry(text).or_default())
    }

    #[track_caller]
    fn says(&self, key: &str, value: u64) {
        let all = self.0.lock().unwrap();
        let found = all.get(key).map(|found| found.0.load(Ordering::SeqCst));
        assert_eq!(found, Some(value), "{key} of {:?}", all.keys().collect::<Vec<_>>());
    }
}

impl Recorder for Memory {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

async fn deposit(store: &MemoryStore) {
    let event = NewEvent::new(EventType::new("Deposited").unwrap(), Payload::from_json(r#"{"cents":1}"#).unwrap());
    let append = Append::to(StreamId::new("account", "ann").unwrap(), ExpectedVersion::Any, vec![event]);
    store.append(&append.build().unwrap()).await.unwrap();
}

#[test]
fn a_recorder_is_told_where_every_consumer_stands_and_why() {
    let memory = Memory::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&memory, || {
        runtime.block_on(async {
            let store = MemoryStore::new();
            let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
            for _ in 0..5 {
                deposit(&store).await;
            }
            let running = runner.clone();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let task = tokio::spawn(async move { running.run(async { _ = stopped.await }).await });
            tokio::time::sleep(Duration::from_secs(5)).await;
            let of = |name: &str| format!("{name}{{consumer=balance}}");
            memory.says(&of(names::POSITION), 5);
            memory.says(&of(names::LAG), 0);
            memory.says(&of(names::EVENTS_APPLIED), 5);
            memory.says(&of(names::FAILURES), 0);
            memory.says("es_consumer_state{consumer=balance,state=caught_up}", 1);
            runner.pause("balance", &OperatorRequest::by("ann").unwrap()).await.unwrap();
            deposit(&store).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            memory.says("es_consumer_state{consumer=balance,state=caught_up}", 0);
            memory.says("es_consumer_state{consumer=balance,state=paused}", 1);
            memory.says(&of(names::POSITION), 5);
            memory.says(&of(names::LAG), 1);
            runner.resume("balance", &OperatorRequest::by("ann").unwrap()).await.unwrap();
            runner.rebuild("balance", |_| {}).await.unwrap();
            memory.says(&of(names::REBUILD_DONE), 6);
            memory.says(&of(names::REBUILD_TOTAL), 6);
            stop.send(()).unwrap();
            task.await.unwrap().unwrap();
        });
    });
}
