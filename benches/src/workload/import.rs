//! W9, and the filling of stores: many events in few appends.

use std::time::Instant;

use es_core::{Append, ExpectedVersion, NewEvent, RunnerStore};

use serde::{Deserialize, Serialize};

use super::{Bench, Names, floors};
use crate::{
    Error,
    account::{AccountEvent, Booking, stream},
    database::Place,
    line::Line,
    meter::{Meter, Sample, nanos},
};

/// Events in one append.
const EVENTS: u64 = 5_000;
/// Streams in one append.
const STREAMS: u64 = 500;

/// W9: one client appends several thousand events at a time.
pub async fn bulk(bench: &Bench) -> Result<Vec<Line>, Error> {
    let names = Names { workload: "W9", variant: "", unit: "events", floor: "F3" };
    let floor = async |place: &Place| floors::pages_of_rows(bench, place).await;
    let workload = async |place: &Place| {
        let store = bench.database.open(place).await?;
        import(&store, Import { streams: STREAMS, ..Import::of(EVENTS) }).await?;
        import(&store, Import { streams: STREAMS, ..Import::of(bench.scale.bulk) }).await
    };
    Ok(vec![bench.compare(names, floor, workload).await?])
}

/// What is imported: events that go round over some streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    pub events: u64,
    pub streams: u64,
    pub prefix: String,
}

impl Import {
    /// So many events over a tenth as many streams.
    pub fn of(events: u64) -> Self {
        Self { events, streams: (events / 10).max(1), prefix: "import".to_owned() }
    }
}

/// Appends events, several thousand at a time. Making them is part of it.
pub async fn import(store: &dyn RunnerStore, import: Import) -> Result<Sample, Error> {
    let (mut done, mut latencies) = (0, Vec::new());
    let meter = Meter::start();
    while done < import.events {
        let count = EVENTS.min(import.events - done);
        let start = Instant::now();
        store.append(&batch(&import, done, count)?).await?;
        latencies.push(nanos(start.elapsed()));
        done += count;
    }
    Ok(meter.stop(done, latencies))
}

/// One append: `count` events over as many of the streams as it may name.
fn batch(import: &Import, first: u64, count: u64) -> Result<Append, Error> {
    let streams = import.streams.min(STREAMS).min(count);
    let mut append = Append::builder();
    for index in 0..streams {
        let id = (first / EVENTS * STREAMS + index) % import.streams;
        let share = count / streams + u64::from(index < count % streams);
        let events: Vec<NewEvent> = (0..share)
            .map(|number| AccountEvent::Deposited(Booking::of((number % 100) as i64)).to_new_event())
            .collect::<Result<_, _>>()?;
        append = append.and(stream(&format!("{}-{id}", import.prefix))?, ExpectedVersion::Any, events);
    }
    Ok(append.build()?)
}
