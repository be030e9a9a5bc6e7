//! Throughput over the number of tasks, and over the size of the store, as pictures.

use std::path::Path;

use crate::{
    Error,
    database::Place,
    svg::{Chart, Series},
    workload::{
        Bench,
        commands::{Deposits, deposits_after_warm_up},
        floors,
        import::Import,
        reading,
    },
};

/// The numbers of tasks.
const TASKS: [usize; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/// Most connections that the floor opens.
const MAX_CLIENTS: usize = 64;
/// Tasks where the size of the store is what changes.
const TASKS_OVER_SIZE: usize = 32;

/// Writes `throughput-STORE.svg` and `store-size-STORE.svg` into a folder.
pub async fn draw(bench: &Bench, folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder)?;
    let store = bench.kind.name();
    std::fs::write(folder.join(format!("throughput-{store}.svg")), over_tasks(bench).await?.to_svg())?;
    std::fs::write(folder.join(format!("store-size-{store}.svg")), over_size(bench).await?.to_svg())?;
    Ok(())
}

async fn over_tasks(bench: &Bench) -> Result<Chart, Error> {
    let (mut commands, mut rows) = (Vec::new(), Vec::new());
    for tasks in TASKS {
        // Enough for some seconds, also where one task alone is slow.
        let count = bench.scale.shared.min(bench.scale.single * tasks as u64);
        let place = bench.database.create().await?;
        let how = Deposits::new(tasks, count, bench.scale.accounts);
        let sample = deposits_after_warm_up(bench, &place, how).await?;
        commands.push((tasks as f64, sample.rate()));
        bench.database.discard(place).await?;

        let place = bench.database.create().await?;
        let sample = floors::rows(bench, &place, tasks.min(MAX_CLIENTS), count).await?;
        rows.push((tasks as f64, sample.rate()));
        bench.database.discard(place).await?;
    }
    Ok(Chart {
        title: format!("Throughput over tasks, {}", bench.kind.name()),
        x_title: "tasks".to_owned(),
        y_title: "per second".to_owned(),
        series: vec![
            Series { name: "W2 commands".to_owned(), points: commands },
            Series { name: "one row a commit".to_owned(), points: rows },
        ],
    })
}

async fn over_size(bench: &Bench) -> Result<Chart, Error> {
    let (mut commands, mut loads, mut stored) = (Vec::new(), Vec::new(), 0);
    let place: Place = bench.database.create().await?;
    reading::fill_long(bench, &place).await?;
    let largest = bench.scale.stored.last().copied().unwrap_or_default();
    // The aggregate with the long history is there from the beginning.
    let sizes = [bench.scale.history, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];
    for size in sizes.into_iter().filter(|&size| size <= largest.max(bench.scale.history)) {
        let missing = size.saturating_sub(bench.scale.history).saturating_sub(stored);
        if missing > 0 {
            reading::fill(bench, &place, Import { prefix: "stored".to_owned(), ..Import::of(missing) }).await?;
            stored += missing;
        }
        let how = Deposits::new(TASKS_OVER_SIZE, bench.scale.shared, bench.scale.accounts);
        let how = Deposits { prefix: format!("shared-{size}"), seed: size << 32, ..how };
        commands.push((size as f64, deposits_after_warm_up(bench, &place, how).await?.rate()));
        loads.push((size as f64, reading::load_long(bench, &place).await?.rate()));
    }
    bench.database.discard(place).await?;
    Ok(Chart {
        title: format!("Throughput over the size of the store, {}", bench.kind.name()),
        x_title: "events in the store".to_owned(),
        y_title: "per second".to_owned(),
        series: vec![
            Series { name: "W2 commands".to_owned(), points: commands },
            Series { name: "W4 events".to_owned(), points: loads },
        ],
    })
}
