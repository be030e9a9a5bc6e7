//! W8: W2 and W4 on a store that already holds many events, beside the same on an empty one.

use super::{
    Bench, Names,
    commands::{Deposits, deposits_after_warm_up},
    import::Import,
    reading,
};
use crate::{Error, database::Place, line::Line};

/// Tasks, as in W2.
const TASKS: usize = 32;

/// W8.
pub async fn on_a_full_store(bench: &Bench) -> Result<Vec<Line>, Error> {
    let (full, empty) = (bench.database.create().await?, bench.database.create().await?);
    reading::fill_long(bench, &full).await?;
    reading::fill_long(bench, &empty).await?;
    let (mut lines, mut stored) = (Vec::new(), 0);
    for &size in bench.scale.stored {
        reading::fill(bench, &full, Import { prefix: "stored".to_owned(), ..Import::of(size - stored) }).await?;
        stored = size;
        lines.push(commands(bench, &full, size).await?);
        lines.push(rehydration(bench, &full, &empty, size).await?);
    }
    bench.database.discard(full).await?;
    bench.database.discard(empty).await?;
    Ok(lines)
}

async fn commands(bench: &Bench, full: &Place, size: u64) -> Result<Line, Error> {
    let variant = format!("W2 after {}", short(size));
    let names = Names { workload: "W8", variant: &variant, unit: "commands", floor: "W2" };
    let how = Deposits::new(TASKS, bench.scale.shared, bench.scale.accounts);
    let on_empty = async |place: &Place| deposits_after_warm_up(bench, place, how.clone()).await;
    let mut turn = size;
    let on_full = async |_: &Place| {
        turn += 1;
        // Accounts of its own, so that their histories are no longer than in the empty store.
        let how = Deposits { prefix: format!("shared-{turn}"), seed: turn << 32, ..how.clone() };
        deposits_after_warm_up(bench, full, how).await
    };
    bench.compare(names, on_empty, on_full).await
}

async fn rehydration(bench: &Bench, full: &Place, empty: &Place, size: u64) -> Result<Line, Error> {
    let variant = format!("W4 after {}", short(size));
    let names = Names { workload: "W8", variant: &variant, unit: "events", floor: "W4" };
    let on_empty = async |_: &Place| reading::load_long(bench, empty).await;
    let on_full = async |_: &Place| reading::load_long(bench, full).await;
    bench.compare(names, on_empty, on_full).await
}

/// A round number in few letters.
pub fn short(number: u64) -> String {
    match number {
        1_000_000.. => format!("{}M", number / 1_000_000),
        1_000.. => format!("{}k", number / 1_000),
        _ => number.to_string(),
    }
}
