//! F1 to F3: rows by hand-written statements.

use std::{sync::Arc, time::Instant};

use super::Bench;
use crate::{
    Error,
    database::{PAGE, Place},
    line::Line,
    meter::{Meter, Sample, nanos, run_tasks},
    row::Rows,
};

/// Clients of F2.
pub const CLIENTS: usize = 32;

/// F1.
pub async fn single(bench: &Bench) -> Result<Vec<Line>, Error> {
    let run = async |place: &Place| rows(bench, place, 1, bench.scale.single).await;
    Ok(vec![bench.alone(("F1", "", "rows"), run).await?])
}

/// F2.
pub async fn shared(bench: &Bench) -> Result<Vec<Line>, Error> {
    let run = async |place: &Place| rows(bench, place, CLIENTS, bench.scale.shared).await;
    Ok(vec![bench.alone(("F2", "32 clients", "rows"), run).await?])
}

/// F3.
pub async fn bulk(bench: &Bench) -> Result<Vec<Line>, Error> {
    let run = async |place: &Place| pages_of_rows(bench, place).await;
    Ok(vec![bench.alone(("F3", "", "rows"), run).await?])
}

/// One row a commit, by so many clients.
pub async fn rows(bench: &Bench, place: &Place, clients: usize, count: u64) -> Result<Sample, Error> {
    let floor = bench.database.floor(place, clients).await?;
    let rows = Arc::new(Rows::default());
    for row in rows.take(clients)? {
        floor.insert_one(row).await?;
    }
    run_tasks(clients, count, move |_| {
        let (floor, rows) = (Arc::clone(&floor), Arc::clone(&rows));
        async move { floor.insert_one(rows.next()?).await }
    })
    .await
}

/// A page of rows a commit, by one client. Making the rows is part of it, as it is of an import.
pub async fn pages_of_rows(bench: &Bench, place: &Place) -> Result<Sample, Error> {
    let floor = bench.database.floor(place, 1).await?;
    let rows = Rows::default();
    floor.insert_many(rows.take(PAGE)?).await?;
    let (mut stored, mut latencies) = (0, Vec::new());
    let meter = Meter::start();
    while stored < bench.scale.bulk {
        let start = Instant::now();
        floor.insert_many(rows.take(PAGE)?).await?;
        latencies.push(nanos(start.elapsed()));
        stored += PAGE as u64;
    }
    Ok(meter.stop(stored, latencies))
}
