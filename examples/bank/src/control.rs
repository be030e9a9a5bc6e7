//! What operators ask and do.

use es_core::Order;
use es_projections::StatusTable;

use crate::{Error, store::Bank};

const READ_MODEL: &str = "balance";
/// Who does it, for the log of operations.
const BY: &str = "the bank's command line";
/// Lines of the log of operations that are shown.
const SHOWN_OPERATIONS: usize = 10;

/// Where the read model stands, what else the store knows, and what was done by hand.
pub async fn status(bank: &Bank) -> Result<(), Error> {
    print!("{}", StatusTable::new(&bank.runner.status().await?));
    for orphan in bank.runner.orphans().await? {
        println!("{orphan}");
    }
    for operation in bank.runner.operations(None, None, SHOWN_OPERATIONS).await? {
        println!("{operation}");
    }
    Ok(())
}

/// Lets the read model stand still.
pub async fn pause(bank: &Bank, why: Option<&str>) -> Result<(), Error> {
    let order = Order::by(BY)?;
    let order = match why {
        Some(why) => order.because(why)?,
        None => order,
    };
    println!("{}", if bank.runner.pause(READ_MODEL, &order).await? { "paused" } else { "it is paused already" });
    Ok(())
}

/// Lets it go on.
pub async fn resume(bank: &Bank) -> Result<(), Error> {
    println!("{}", if bank.runner.resume(READ_MODEL, &Order::by(BY)?).await? { "resumed" } else { "it is not paused" });
    Ok(())
}
