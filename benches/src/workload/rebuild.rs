//! W10: a read model is rebuilt beside the live one.

use es_core::{EventStore, View};
use es_projections::{RebuildOptions, Rebuilt, Verification};

use super::{Bench, Names, catch_up::ReadModel, import::Import, reading};
use crate::{
    Error,
    database::Place,
    line::Line,
    meter::{Meter, Sample},
    models::{Balance, Model, Totals, Writing},
    part::{Helper, Part},
};

const TOTALS: &str = "rebuilt";

/// W10: a view and a projection, built alone and with the comparison. The memory is measured in a process of its own.
pub async fn all(bench: &Bench) -> Result<Vec<Line>, Error> {
    let place = bench.database.create().await?;
    let streams = bench.scale.log_streams;
    reading::fill(bench, &place, Import { streams, ..Import::of(bench.scale.rebuilt) }).await?;
    let projection = || ReadModel::Projection { name: TOTALS.to_owned(), writing: Writing::PageByPage };
    let mut lines = Vec::new();
    for (variant, model, is_compared) in [
        ("view", ReadModel::View, false),
        ("view, compared", ReadModel::View, true),
        ("SQL by page", projection(), false),
        ("SQL by page, compared", projection(), true),
    ] {
        let names = Names { workload: "W10", variant, unit: "events", floor: "hand-written load" };
        let floor = async |_: &Place| {
            let floor = bench.database.floor(&place, 1).await?;
            let meter = Meter::start();
            let count = floor.load_sums().await?;
            Ok(meter.stop(count, Vec::new()))
        };
        let workload = async |_: &Place| rebuild(bench, &place, &model, is_compared).await;
        let mut line = bench.compare(names, floor, workload).await?;
        let part = Part::Rebuild { place: place.clone(), model: model.clone(), is_compared };
        line.memory_kib = Some(Helper::start(bench, &part, &[])?.result().await?);
        lines.push(line);
    }
    bench.database.discard(place).await?;
    Ok(lines)
}

/// The process of a rebuild's own. Gives the most memory that was resident above what was when it began, in KiB.
pub async fn memory_of_rebuild(
    bench: &Bench,
    place: &Place,
    model: &ReadModel,
    is_compared: bool,
) -> Result<u64, Error> {
    Ok(rebuild(bench, place, model, is_compared).await?.peak_kib.saturating_sub(bench.idle_kib))
}

/// From the claim of the next generation to the moment in which readers are given it.
async fn rebuild(bench: &Bench, place: &Place, model: &ReadModel, is_compared: bool) -> Result<Sample, Error> {
    let (name, model) = match model {
        ReadModel::View => (Balance::NAME, Model::View),
        ReadModel::Projection { name, writing } => {
            (name.as_str(), Model::Totals(Totals { name: name.clone(), writing: *writing, observer: None }))
        }
    };
    let (store, runner) = bench.database.runner(place, model).await?;
    runner.catch_up().await?;
    let verification = if is_compared { Verification::MustMatch } else { Verification::Skip };
    let meter = Meter::start();
    let rebuilt = runner.rebuild_beside(name, RebuildOptions::by("es-bench").verify(verification), |_| {}).await?;
    let sample = meter.stop(store.head().await?.get(), Vec::new());
    match rebuilt {
        Rebuilt::Live { .. } => drop(runner.drop_retired(name).await?),
        other => return Err(format!("the rebuilt read model is not live: {other:?}").into()),
    }
    Ok(sample)
}
