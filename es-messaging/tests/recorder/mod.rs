//! A recorder of metrics that remembers the last of each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ::metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// What was told, by the name and the values of the labels.
#[derive(Default, Clone)]
pub(crate) struct Told(Arc<Mutex<BTreeMap<String, f64>>>);

struct One(Told, String);

impl One {
    fn change(&self, change: impl FnOnce(&mut f64)) {
        change(self.0.0.lock().unwrap().entry(self.1.clone()).or_default());
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.change(|now| *now += value as f64);
    }
    fn absolute(&self, value: u64) {
        self.change(|now| *now = value as f64);
    }
}

impl GaugeFn for One {
    fn increment(&self, value: f64) {
        self.change(|now| *now += value);
    }
    fn decrement(&self, value: f64) {
        self.change(|now| *now -= value);
    }
    fn set(&self, value: f64) {
        self.change(|now| *now = value);
    }
}

impl HistogramFn for One {
    fn record(&self, _: f64) {
        self.change(|now| *now += 1.0);
    }
}

impl Told {
    fn one(&self, key: &Key) -> Arc<One> {
        let label = key.labels().map(|label| format!(" {}", label.value())).collect::<String>();
        Arc::new(One(self.clone(), format!("{}{label}", key.name())))
    }

    pub(crate) fn value(&self, name: &str) -> f64 {
        self.0.lock().unwrap().get(name).copied().unwrap_or_else(|| panic!("{name} was never told: {:?}", self.0))
    }
}

impl Recorder for Told {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.one(key))
    }
}
