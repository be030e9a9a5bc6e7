//! Importing a file of real transactions through the aggregate: each line a command, each id the idempotency key.

use std::{collections::BTreeMap, path::Path, time::Instant};

use es_core::ConsumerStoreExt;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    Error,
    account::AccountCommand,
    balance::Balance,
    progress,
    store::{Bank, BankStore},
    transactions::{FileSummary, Totals, Transaction, Transactions},
};

/// Lines that are read ahead. Those of different accounts are executed at the same time, those of one account in turn.
const WINDOW_LINES: usize = 512;
/// Accounts whose commands are executed at the same time.
const ACCOUNTS_AT_A_TIME: usize = 32;

pub async fn import(bank: &Bank, path: &Path) -> Result<(), Error> {
    let summary = FileSummary::read(path)?;
    say!("{}: {} transactions of {} accounts", path.display(), summary.totals.transactions, summary.totals.accounts);

    let start = Instant::now();
    let bar = progress::bar("importing", summary.totals.transactions);
    let mut repeated = 0;
    let mut lines = Transactions::open(path)?.map_while(Result::ok);
    loop {
        let window: Vec<Transaction> = lines.by_ref().take(WINDOW_LINES).collect();
        if window.is_empty() {
            break;
        }
        let mut by_account: BTreeMap<String, Vec<Transaction>> = BTreeMap::new();
        for transaction in window {
            by_account.entry(transaction.account.clone()).or_default().push(transaction);
        }
        let mut accounts = stream::iter(by_account)
            .map(|(account, transactions)| import_account(bank, account, transactions))
            .buffer_unordered(ACCOUNTS_AT_A_TIME);
        while let Some(counts) = accounts.try_next().await? {
            repeated += counts.repeated;
            bar.inc(counts.lines);
        }
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let lines = summary.totals.transactions;
    say!(
        "imported {} transactions, {repeated} were there already: {seconds:.1} s, {:.0} commands per second",
        lines - repeated,
        lines as f64 / seconds.max(f64::EPSILON)
    );

    bank.runner.catch_up().await?;
    let accounts: Vec<&String> = summary.accounts.iter().collect();
    let read_model = totals_of(bank, &accounts).await?;
    compare(&summary.totals, &read_model)?;
    match summary.problem {
        Some(problem) => Err(format!("the import ended early: {problem}. What came before it is stored; mend the line and import again: nothing is stored twice").into()),
        None => Ok(()),
    }
}

struct Counts {
    lines: u64,
    repeated: u64,
}

async fn import_account(bank: &Bank, account: String, transactions: Vec<Transaction>) -> Result<Counts, Error> {
    let mut counts = Counts { lines: 0, repeated: 0 };
    for transaction in transactions {
        let done = bank
            .accounts
            .execute(&account, AccountCommand::BookImported(transaction.to_command()))
            .idempotency_key(&transaction.id)
            // The key outlives this program: what it stands for is the line, whatever a later version decides about it.
            .request(&transaction)
            .occurred_at(transaction.occurred_at())
            .actor("import")
            .await?;
        counts.lines += 1;
        counts.repeated += u64::from(done.is_repeated());
    }
    Ok(counts)
}

/// The read model's own sums over some accounts.
async fn totals_of(bank: &Bank, accounts: &[&String]) -> Result<Totals, Error> {
    let mut totals = Totals::default();
    for chunk in accounts.chunks(1_000) {
        let store: &dyn BankStore = &*bank.store;
        for balance in store.view::<Balance>().get_many(chunk).await?.into_iter().flatten() {
            totals.accounts += 1;
            totals.transactions += balance.transactions;
            totals.credits += balance.credits;
            totals.debits += balance.debits;
        }
    }
    Ok(totals)
}

fn compare(file: &Totals, read_model: &Totals) -> Result<(), Error> {
    say!("\n{:<14}{:>18}{:>18}", "", "file", "read model");
    let row = |name: &str, file: String, read_model: String| {
        let verdict = if file == read_model { "equal" } else { "DIFFERENT" };
        say!("{name:<14}{file:>18}{read_model:>18}  {verdict}");
    };
    row("accounts", file.accounts.to_string(), read_model.accounts.to_string());
    row("transactions", file.transactions.to_string(), read_model.transactions.to_string());
    row("credits", file.credits.to_string(), read_model.credits.to_string());
    row("debits", file.debits.to_string(), read_model.debits.to_string());
    row("net", file.net().to_string(), read_model.net().to_string());
    if file == read_model {
        return Ok(());
    }
    Err("the read model differs from the file: were transactions of these accounts imported from another file, too?"
        .into())
}
