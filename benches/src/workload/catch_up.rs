//! W5: a read model catches up with the log.

use es_core::{ConsumerName, ConsumerStore, EventStore, View};
use serde::{Deserialize, Serialize};

use super::{Bench, Names, import::Import, reading};
use crate::{
    Error,
    database::{Floor, PAGE, Place},
    line::Line,
    meter::{Meter, Sample},
    models::{Balance, Model, Totals, Writing},
    part::{Helper, Part},
};

/// A read model that is to catch up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadModel {
    View,
    Projection { name: String, writing: Writing },
}

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
        let mut model = || {
            turn += 1;
            match writing {
                None => ReadModel::View,
                // A name of its own, so a checkpoint of its own.
                Some(writing) => {
                    let name = format!("{}_{turn}", variant.to_lowercase().replace([' ', '-'], "_"));
                    ReadModel::Projection { name, writing }
                }
            }
        };
        let workload = async |_: &Place| catch_up(bench, &place, model()).await;
        let mut line = bench.compare(names(variant, floor_name), floor, workload).await?;
        // Once more, alone: this process keeps what floors and other read models have freed.
        let part = Part::CatchUp { place: place.clone(), model: model() };
        line.memory_kib = Some(Helper::start(bench, &part, &[])?.result().await?);
        lines.push(line);
    }
    bench.database.discard(place).await?;
    Ok(lines)
}

/// The process of a read model's own. Gives the most memory that was resident above what was when it began, in KiB.
pub async fn memory_of_catch_up(bench: &Bench, place: &Place, model: ReadModel) -> Result<u64, Error> {
    Ok(catch_up(bench, place, model).await?.peak_kib.saturating_sub(bench.idle_kib))
}

/// A read model that was never caught up before, from the first event to the last.
async fn catch_up(bench: &Bench, place: &Place, model: ReadModel) -> Result<Sample, Error> {
    let is_view = model == ReadModel::View;
    let model = match model {
        ReadModel::View => Model::View,
        ReadModel::Projection { name, writing } => Model::Totals(Totals { name, writing, observer: None }),
    };
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
