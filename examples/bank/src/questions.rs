//! What one can ask the bank: the read model, the history, the past.

use es_core::{AsOf, ConsumerStoreExt, LoadError, Recorded, Version};
use futures_util::TryStreamExt;
use time::{OffsetDateTime, macros::format_description};

use crate::{
    Error,
    account::AccountEvent,
    balance::Balance,
    store::{Bank, BankStore},
};

/// Documents that are read at a time.
const PAGE_DOCUMENTS: usize = 1_000;

/// The balances of the read model, all or the largest.
pub async fn balances(bank: &Bank, top: Option<usize>) -> Result<(), Error> {
    bank.runner.catch_up().await?;
    let store: &dyn BankStore = &*bank.store;
    let view = store.view::<Balance>();
    say!("{:<12}{:<28}{:>16}{:>14}", "account", "owner", "balance", "transactions");
    let print = |documents: &[(String, Balance)]| {
        for (id, balance) in documents {
            say!("{id:<12}{:<28}{:>16}{:>14}", balance.owner, balance.balance, balance.transactions);
        }
    };
    if let Some(count) = top {
        print(&view.top("balance", count).await?);
        return Ok(());
    }
    let mut after: Option<String> = None;
    loop {
        let page = view.list(after.as_deref(), PAGE_DOCUMENTS).await?;
        print(&page);
        match page.into_iter().next_back() {
            Some((id, _)) => after = Some(id),
            None => return Ok(()),
        }
    }
}

/// Everything that happened to an account, for an audit.
pub async fn statement(bank: &Bank, account: &str) -> Result<(), Error> {
    let mut history = bank.accounts.history(account);
    say!(
        "{:>7} {:>9}  {:<19}  {:<10}  {:<34}{:<10}correlation",
        "version",
        "position",
        "recorded (UTC)",
        "occurred",
        "event",
        "actor"
    );
    let mut count = 0;
    while let Some(event) = history.try_next().await? {
        print_line(&event)?;
        count += 1;
    }
    if count == 0 {
        return Err(no_such_account(account));
    }
    Ok(())
}

fn print_line(event: &Recorded<AccountEvent>) -> Result<(), Error> {
    let metadata = event.metadata();
    say!(
        "{:>7} {:>9}  {:<19}  {:<10}  {:<34}{:<10}{}",
        event.version(),
        event.position(),
        seconds(event.recorded_at())?,
        day(event.occurred_at())?,
        describe(&event.event),
        metadata.actor().unwrap_or("-"),
        metadata.correlation().unwrap_or("-"),
    );
    Ok(())
}

fn describe(event: &AccountEvent) -> String {
    let with_purpose = |what: &str, amount: &crate::money::Money, purpose: &Option<String>| match purpose {
        Some(purpose) => format!("{what} {amount} ({purpose})"),
        None => format!("{what} {amount}"),
    };
    match event {
        AccountEvent::Opened { owner, .. } => format!("opened by {owner}"),
        AccountEvent::Deposited { amount, purpose } => with_purpose("deposited", amount, purpose),
        AccountEvent::Withdrawn { amount, purpose } => with_purpose("withdrawn", amount, purpose),
    }
}

/// The balance as it was at an earlier version, or at the end of a day.
pub async fn as_of(bank: &Bank, account: &str, as_of: AsOf) -> Result<(), Error> {
    let loaded = bank.accounts.load_at(account, as_of).await.map_err(|error| match error {
        LoadError::VersionInFuture { actual: Version::ZERO, .. } => no_such_account(account),
        other => other.into(),
    })?;
    if loaded.version == Version::ZERO && bank.accounts.load(account).await?.version == Version::ZERO {
        return Err(no_such_account(account));
    }
    say!("account {account}, as of version {}: balance {}", loaded.version, loaded.state.balance);
    Ok(())
}

fn no_such_account(account: &str) -> Error {
    format!("there is no account {account:?}: `bank balances` lists those that there are").into()
}

/// A time to the second, in UTC.
pub fn seconds(time: OffsetDateTime) -> Result<String, time::error::Format> {
    time.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]"))
}

fn day(time: OffsetDateTime) -> Result<String, time::error::Format> {
    time.format(format_description!("[year]-[month]-[day]"))
}
