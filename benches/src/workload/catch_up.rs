//! W5: a read model catches up with the log.

use es_core::{ConsumerName, ConsumerStore, EventStore, View};

use super::{Bench, Names, import::Import, reading};
use crate::{
    Error,
    database::{Floor, PAGE, Place},
    line::Line,
    meter::{Meter, Sample},
    models::{Balance, Model, Totals, Writing},
};

/// W5 in its four forms.
pub async fn all(bench: &Bench) -> Result<Vec<Line>, Error> {
    let place = bench.database.create().await?;
    let streams = bench.scale.log_streams;
    reading::fill(bench, &place, Import { streams, ..Import::of(bench.scale.log) }).await?;
    let names = |variant, floor| Names { workload: "W5", variant, unit: "events", floor };
    let mut lines = Vec::new();
    for (variant, writing, floor_name) in [
        ("no-op", Some(Writing::Nothing), "F4 in pages"),
        ("view", None, "hand-written"),
        ("SQL by page", Some(Writing::PageByPage), "hand-written"),
        ("SQL by event", Some(Writing::EventByEvent), "the same upserts"),
    ] {
        let floor = async |_: &Place| {
            let floor = bench.database.floor(&place, 1).await?;
            match floor_name {
                "F4 in pages" => reading::read_log(&*floor, true).await,
                "hand-written" => keep_sums(&*floor).await,
                _ => upsert_each(bench, &*floor).await,
            }
        };
        let mut turn = 0;
        let workload = async |_: &Place| {
            turn += 1;
            let model = match writing {
                None => Model::View,
                // A name of its own, so a checkpoint of its own.
                Some(writing) => {
                    let name = format!("{}_{turn}", variant.to_lowercase().replace([' ', '-'], "_"));
                    Model::Totals(Totals { name, writing, observer: None })
                }
            };
            catch_up(bench, &place, model).await
        };
        lines.push(bench.compare(names(variant, floor_name), floor, workload).await?);
    }
    bench.database.discard(place).await?;
    Ok(lines)
}

/// A read model that was never caught up before, from the first event to the last.
async fn catch_up(bench: &Bench, place: &Place, model: Model) -> Result<Sample, Error> {
    let is_view = matches!(model, Model::View);
    let (store, runner) = bench.database.runner(place, model).await?;
    if is_view {
        let view = ConsumerName::new(Balance::NAME)?;
        store.prepare_view(&view).await?;
        store.clear_view(&view).await?;
    }
    let meter = Meter::start();
    runner.catch_up().await?;
    Ok(meter.stop(store.head().await?.get(), Vec::new()))
}

async fn keep_sums(floor: &dyn Floor) -> Result<Sample, Error> {
    let meter = Meter::start();
    let count = floor.keep_sums().await?;
    Ok(meter.stop(count, Vec::new()))
}

/// The upserts of the whole log, made beforehand.
async fn upsert_each(bench: &Bench, floor: &dyn Floor) -> Result<Sample, Error> {
    let streams = bench.scale.log_streams;
    let bookings: Vec<_> = (0..bench.scale.log).map(|number| (format!("import-{}", number % streams), 1)).collect();
    let pages: Vec<_> = bookings.chunks(PAGE).map(<[_]>::to_vec).collect();
    let meter = Meter::start();
    floor.upsert_each(&pages).await?;
    Ok(meter.stop(bench.scale.log, Vec::new()))
}
