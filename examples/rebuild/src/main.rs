//! A projection is changed while its read model serves: the next version is built beside the live one, compared with it, put
//! in its place, and rolled back. `cargo run -p rebuild [FILE]`

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module offers to the others")]

/// Says a line like `println!`, and ends the program without a word once nobody listens, as in `rebuild | head`.
macro_rules! say {
    ($($text:tt)*) => {
        if std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*))).is_err() {
            std::process::exit(0);
        }
    };
}

mod account;
mod turnover;

use std::path::PathBuf;

use account::AccountEvent;
use es_core::{Append, EventStore, ExpectedVersion, NewEvent, StreamId};
use es_projections::{RebuildOptions, Rebuilt, Runner, Verification};
use es_sqlite::SqliteStore;
use turnover::{TURNOVER, Turnover, TurnoverWithCounts, print_table};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Who rebuilds: a second rebuild would be told this name.
const BY: &str = "the example";

#[tokio::main]
async fn main() -> Result<(), Error> {
    let file = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("rebuild.db"), PathBuf::from);
    if file.exists() {
        return Err(format!("{} is there already; give a new file, or remove it", file.display()).into());
    }
    let store = SqliteStore::open(&file).await?;
    for (account, event) in [
        ("ann", AccountEvent::Deposited { cents: 10_000 }),
        ("bob", AccountEvent::Deposited { cents: 2_000 }),
        ("ann", AccountEvent::Withdrawn { cents: 3_000 }),
        ("ann", AccountEvent::Deposited { cents: 500 }),
    ] {
        let stream = StreamId::new("account", account)?;
        let append = Append::to(stream, ExpectedVersion::Any, vec![NewEvent::of(&event)?]).build()?;
        store.append(&append).await?;
    }

    say!("1. The read model, by version 1 of its code");
    let first = Runner::builder(&store).projection(Turnover::default()).build()?;
    first.catch_up().await?;
    print_table(&file).await?;

    say!("2. The same code again: it must give the same");
    let must_match = RebuildOptions::by(BY).verify(Verification::MustMatch);
    if let Rebuilt::Live { generation, comparison: Some(comparison) } =
        first.rebuild_beside(TURNOVER, must_match, |_| {}).await?
    {
        say!("   {comparison}; readers are given {generation}");
    }

    say!(
        "3. Version 2 counts the bookings too. Version 1 leaves alone what version 2 writes, and the other way round:"
    );
    let second = Runner::builder(&store).projection(TurnoverWithCounts::default()).build()?;
    if let Err(error) = second.catch_up().await {
        say!("   {error}");
    }

    say!("4. Built beside the live one, it differs, so somebody has to look");
    first.drop_retired(TURNOVER).await?;
    if let Rebuilt::Differs { comparison, .. } = second.rebuild_beside(TURNOVER, RebuildOptions::by(BY), |_| {}).await?
    {
        say!("   {comparison}");
    }
    say!("   Readers still have:");
    print_table(&file).await?;

    say!("5. Accepted: from one moment to the next, readers have the new one");
    second.accept_rebuild(TURNOVER, BY).await?;
    print_table(&file).await?;

    say!("6. Rolled back, at once");
    let generation = second.roll_back(TURNOVER, BY).await?;
    say!("   readers are given {generation}");
    print_table(&file).await?;
    store.close().await?;
    Ok(())
}
