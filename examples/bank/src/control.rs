//! What operators do.

use es_core::Order;

use crate::{Error, store::Bank};

const READ_MODEL: &str = "balance";
/// Who does it, for the log of operations.
const BY: &str = "the bank's command line";

/// Lets the read model stand still.
pub async fn pause(bank: &Bank, why: Option<&str>) -> Result<(), Error> {
    let order = Order::by(BY)?;
    let order = match why {
        Some(why) => order.because(why)?,
        None => order,
    };
    say!("{}", if bank.runner.pause(READ_MODEL, &order).await? { "paused" } else { "it is paused already" });
    Ok(())
}

/// Lets it go on.
pub async fn resume(bank: &Bank) -> Result<(), Error> {
    say!("{}", if bank.runner.resume(READ_MODEL, &Order::by(BY)?).await? { "resumed" } else { "it is not paused" });
    Ok(())
}
