//! What operators do.

use es_core::OperatorRequest;

use crate::{Error, store::Bank};

const READ_MODEL: &str = "balance";
/// Who does it, for the log of operations.
const BY: &str = "the bank's command line";

/// Lets the read model stand still.
pub async fn pause(bank: &Bank, why: Option<&str>) -> Result<(), Error> {
    let request = OperatorRequest::by(BY)?;
    let request = match why {
        Some(why) => request.because(why)?,
        None => request,
    };
    say!("{}", if bank.runner.pause(READ_MODEL, &request).await? { "paused" } else { "it is paused already" });
    Ok(())
}

/// Lets it go on.
pub async fn resume(bank: &Bank) -> Result<(), Error> {
    say!(
        "{}",
        if bank.runner.resume(READ_MODEL, &OperatorRequest::by(BY)?).await? { "resumed" } else { "it is not paused" }
    );
    Ok(())
}
