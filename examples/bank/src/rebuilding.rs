//! The read model, built again from the events.

use es_projections::{RebuildOptions, RebuildProgress, Rebuilt, Verification};
use indicatif::ProgressBar;

use crate::{Error, progress, store::Bank};

const READ_MODEL: &str = "balance";
/// Who says so to others that want to rebuild at the same time.
const BY: &str = "the bank's command line";

/// Builds the read model again beside the live one, which serves and follows meanwhile; compares the two; and puts it in
/// its place for all readers at once, if it is the same or somebody accepts it.
pub async fn beside(bank: &Bank, accept: bool) -> Result<(), Error> {
    // One to go back to is enough.
    bank.runner.drop_retired(READ_MODEL).await?;
    let bar = progress::bar("rebuilding", 0);
    let rebuilt =
        bank.runner.rebuild_beside(READ_MODEL, RebuildOptions::by(BY), |progress| show(&bar, &progress)).await?;
    finish(&bar);
    match rebuilt {
        Rebuilt::Live { generation, comparison } => {
            if let Some(comparison) = comparison {
                say!("  compared with the live one: {comparison}");
            }
            say!("  readers are given {generation} now; `bank roll-back` goes back to the one before");
        }
        Rebuilt::Differs { generation, comparison } if accept => {
            say!("  compared with the live one: {comparison}");
            bank.runner.accept_rebuild(READ_MODEL, BY).await?;
            say!("  accepted: readers are given {generation} now; `bank roll-back` goes back to the one before");
        }
        Rebuilt::Differs { comparison, .. } => {
            say!("  it differs from the live one, which stays: {comparison}");
            say!("  `bank rebuild --accept` puts it in place");
        }
        _ => {}
    }
    Ok(())
}

/// Goes back to the read model from before the last rebuild.
pub async fn roll_back(bank: &Bank) -> Result<(), Error> {
    let generation = bank.runner.roll_back(READ_MODEL, BY).await?;
    bank.runner.catch_up().await?;
    say!("readers are given {generation} again");
    Ok(())
}

/// Throws the read model away, builds it again, and compares it with what was remembered of it.
pub async fn in_place(bank: &Bank) -> Result<(), Error> {
    let bar = progress::bar("rebuilding", 0);
    let verification = Verification::ShowDifference;
    let compared = bank.runner.rebuild_in_place(READ_MODEL, verification, |progress| show(&bar, &progress)).await?;
    finish(&bar);
    if let Some(comparison) = compared {
        say!("  compared with the one before: {comparison}");
    }
    Ok(())
}

fn show(bar: &ProgressBar, progress: &RebuildProgress) {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
}

fn finish(bar: &ProgressBar) {
    let (events, elapsed) = (bar.position(), bar.elapsed());
    bar.finish_and_clear();
    say!(
        "  the read model was rebuilt from {events} events in {:.2} s ({:.0} events per second)",
        elapsed.as_secs_f64(),
        events as f64 / elapsed.as_secs_f64().max(f64::EPSILON)
    );
}
