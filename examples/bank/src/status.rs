//! Where the read models stand.

use es_projections::StatusTable;

use crate::{Error, questions::seconds, store::Bank};

/// Lines of the log of operations that are shown.
const SHOWN_OPERATIONS: usize = 10;

/// A table of all consumers, the rebuilds that are under way, in whatever process, and what operators did.
pub async fn show(bank: &Bank) -> Result<(), Error> {
    let all = bank.runner.status().await?;
    say!("{}", StatusTable::new(&all).to_string().trim_end());
    for rebuild in all.iter().filter_map(|status| status.rebuild.as_ref()) {
        let by = match &rebuild.builder {
            Some(builder) => format!("built by {} since {} UTC", builder.by, seconds(builder.since)?),
            None => "built by nobody: `bank rebuild` goes on, `bank rebuild --accept` takes it".to_owned(),
        };
        let eta = rebuild.eta.map_or_else(String::new, |eta| format!(", {eta:.0?} to go"));
        let (done, total, rate) = (rebuild.done, rebuild.total, rebuild.rate_per_second);
        say!("{}, {by}: {done} of {total} events, {rate:.0} per second{eta}", rebuild.generation);
    }
    for orphan in bank.runner.orphans().await? {
        say!("{orphan}");
    }
    for operation in bank.runner.operations(None, None, SHOWN_OPERATIONS).await? {
        say!("{operation}");
    }
    Ok(())
}
