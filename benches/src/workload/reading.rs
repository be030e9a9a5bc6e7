//! W4 and F4: reading events in order, and making values of them.

use std::time::Instant;

use es_core::Repository;

use super::{
    Bench, Names,
    import::{Import, import},
};
use crate::{
    Error,
    account::{Account, stream},
    database::{Floor, Place},
    line::Line,
    meter::{Meter, Sample, nanos},
    part::{Helper, Part},
};

const LONG: &str = "long";

/// F4: all rows, by one statement and by pages.
pub async fn rows(bench: &Bench) -> Result<Vec<Line>, Error> {
    let place = bench.database.create().await?;
    fill(bench, &place, Import { streams: bench.scale.log_streams, ..Import::of(bench.scale.log) }).await?;
    let mut lines = Vec::new();
    for (variant, in_pages) in [("streamed", false), ("in pages", true)] {
        let run = async |_: &Place| read_log(&*bench.database.floor(&place, 1).await?, in_pages).await;
        lines.push(bench.alone(("F4", variant, "events"), run).await?);
    }
    bench.database.discard(place).await?;
    Ok(lines)
}

/// Reads the whole log by hand-written statements.
pub async fn read_log(floor: &dyn Floor, in_pages: bool) -> Result<Sample, Error> {
    let meter = Meter::start();
    let count = if in_pages { floor.read_in_pages().await? } else { floor.read_streamed(None).await? };
    Ok(meter.stop(count, Vec::new()))
}

/// W4: one aggregate with a long history, each time by a repository that has not seen it.
pub async fn rehydrate(bench: &Bench) -> Result<Vec<Line>, Error> {
    let place = bench.database.create().await?;
    fill_long(bench, &place).await?;
    let names = Names { workload: "W4", variant: "", unit: "events", floor: "F4 streamed" };
    let floor = async |_: &Place| read_long(bench, &place).await;
    let workload = async |_: &Place| load_long(bench, &place).await;
    let lines = vec![bench.compare(names, floor, workload).await?];
    bench.database.discard(place).await?;
    Ok(lines)
}

/// Stores the aggregate with a long history.
pub async fn fill_long(bench: &Bench, place: &Place) -> Result<(), Error> {
    fill(bench, place, Import { events: bench.scale.history, streams: 1, prefix: LONG.to_owned() }).await
}

/// Loads it as often as asked for.
pub async fn load_long(bench: &Bench, place: &Place) -> Result<Sample, Error> {
    let store = bench.database.open(place).await?;
    let id = format!("{LONG}-0");
    Repository::<Account>::new(&store).load(&id).await?;
    let (mut events, mut latencies) = (0, Vec::new());
    let meter = Meter::start();
    for _ in 0..bench.scale.loads {
        let start = Instant::now();
        events += Repository::<Account>::new(&store).load(&id).await?.version.get();
        latencies.push(nanos(start.elapsed()));
    }
    Ok(meter.stop(events, latencies))
}

/// Reads it as often, by a hand-written statement.
async fn read_long(bench: &Bench, place: &Place) -> Result<Sample, Error> {
    let floor = bench.database.floor(place, 1).await?;
    let stream = stream(&format!("{LONG}-0"))?;
    floor.read_streamed(Some(stream.as_str())).await?;
    let (mut events, mut latencies) = (0, Vec::new());
    let meter = Meter::start();
    for _ in 0..bench.scale.loads {
        let start = Instant::now();
        events += floor.read_streamed(Some(stream.as_str())).await?;
        latencies.push(nanos(start.elapsed()));
    }
    Ok(meter.stop(events, latencies))
}

/// Fills a place through the public API, in a process of its own, and lets the database tidy up after it.
pub async fn fill(bench: &Bench, place: &Place, what: Import) -> Result<(), Error> {
    Helper::start(bench, &Part::Fill { place: place.clone(), what }, &[])?.result::<u64>().await?;
    bench.database.floor(place, 1).await?.settle().await
}

/// That process. Gives how many events it has stored.
pub async fn fill_here(bench: &Bench, place: &Place, what: Import) -> Result<u64, Error> {
    Ok(import(&*bench.database.open(place).await?, what).await?.units)
}
