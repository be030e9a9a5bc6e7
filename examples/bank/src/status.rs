//! Where the read models stand.

use crate::{Error, questions::seconds, store::Bank};

/// A table of all consumers, and of the rebuilds that are under way, in whatever process.
pub async fn show(bank: &Bank) -> Result<(), Error> {
    println!("{:<14}{:<12}{:>10}{:>10}{:>8}  here", "read model", "kind", "position", "head", "lag");
    let all = bank.runner.status().await?;
    for status in &all {
        let (name, kind) = (status.name.as_str(), status.kind.to_string());
        println!("{name:<14}{kind:<12}{:>10}{:>10}{:>8}  {}", status.position, status.head, status.lag, status.state);
    }
    for rebuild in all.iter().filter_map(|status| status.rebuild.as_ref()) {
        let by = match &rebuild.builder {
            Some(builder) => format!("built by {} since {} UTC", builder.by, seconds(builder.since)?),
            None => "built by nobody: `bank rebuild` goes on, `bank rebuild --accept` takes it".to_owned(),
        };
        let eta = rebuild.eta.map_or_else(String::new, |eta| format!(", {eta:.0?} to go"));
        let (done, total, rate) = (rebuild.done, rebuild.total, rebuild.rate_per_second);
        println!("{}, {by}: {done} of {total} events, {rate:.0} per second{eta}", rebuild.generation);
    }
    Ok(())
}
