//! `cargo run -p bank`: what the framework does, in one page.
//!
//! Every command has an idempotency key, so that running it again on the same store changes nothing.

use es_core::{AsOf, EventStore, ExecuteError, Executed, Version};
use futures_util::TryStreamExt;

use crate::{
    Error,
    account::{Account, AccountCommand, AccountError},
    money::Money,
    questions, rebuilding,
    store::Bank,
};

pub async fn run(bank: &Bank, store_url: &str) -> Result<(), Error> {
    let accounts = &bank.accounts;

    heading("1. Commands become events");
    for (id, owner) in [("ann", "Ann"), ("bob", "Bob")] {
        let open = AccountCommand::Open { owner: owner.to_owned() };
        let done = accounts.execute(id, open).idempotency_key(format!("demo: open {id}")).actor("teller-1").await?;
        report(&format!("open an account for {owner}"), &done);
    }
    let done = accounts
        .execute("ann", deposit(100_000, "salary"))
        .idempotency_key("demo: salary")
        .actor("payroll")
        .correlation("payroll-2026-11")
        .await?;
    report("deposit 1 000.00 for Ann", &done);
    let done = accounts
        .execute("ann", withdraw(15_000, "groceries"))
        .idempotency_key("demo: groceries")
        .actor("teller-1")
        .await?;
    report("withdraw 150.00 from Ann", &done);

    heading("2. The domain decides, and refuses in its own words");
    match accounts.execute("bob", withdraw(500_000, "a boat")).actor("teller-1").await {
        Err(ExecuteError::Rejected(error @ AccountError::Overdrawn { .. })) => {
            say!("  withdraw 5 000.00 from Bob: refused, {error}; nothing was stored");
        }
        other => return Err(format!("an overdraft was not refused as it should: {other:?}").into()),
    }

    heading("3. Two accounts, one atomic append: both or neither");
    let done = accounts
        .execute("ann", withdraw(30_000, "rent"))
        .and("bob", deposit(30_000, "rent"))
        .idempotency_key("demo: rent")
        .actor("ann")
        .correlation("transfer-1")
        .await?;
    report("transfer 300.00 from Ann to Bob", &done);
    let again = accounts
        .execute("ann", withdraw(30_000, "rent"))
        .and("bob", deposit(30_000, "rent"))
        .idempotency_key("demo: rent")
        .await?;
    say!(
        "  the same transfer sent again under its key: recognised ({}), Ann still has {}",
        if again.is_repeated() { "the first outcome is returned" } else { "BUT EXECUTED TWICE" },
        accounts.load("ann").await?.state.balance
    );

    heading("4. A read model, kept by the framework");
    questions::balances(bank, None).await?;

    heading("5. Everything that happened to Ann's account, for an audit");
    questions::statement(bank, "ann").await?;

    heading("6. The past");
    questions::as_of(bank, "ann", AsOf::Version(Version::new(2))).await?;
    let history: Vec<_> = accounts.history("ann").try_collect().await?;
    if let Some(withdrawn) = history.get(2) {
        let time = withdrawn.recorded_at();
        let before = time - time::Duration::microseconds(1);
        let then = accounts.load_at("ann", AsOf::Recorded(before)).await?;
        say!("just before {} UTC: balance {}", questions::seconds(time)?, then.state.balance);
    }

    heading("7. A read model is disposable: built again beside the live one, compared, put in its place");
    rebuilding::beside(bank, false).await?;
    for status in bank.runner.status().await? {
        say!("  {status}");
    }

    heading("8. Where it is");
    say!("  {} events are stored in {store_url}", bank.store.head().await?);
    if store_url != "memory:" {
        say!("  Run this again: every command has a key, so nothing happens twice.");
    }
    say!("  Next: cargo run -p bank -- --help");
    Ok(())
}

fn heading(text: &str) {
    say!("\n{text}\n");
}

fn report(what: &str, done: &Executed<Account>) {
    let verdict = if done.is_repeated() { "done before" } else { "done" };
    let position = done.position().map_or_else(String::new, |position| format!(", position {position}"));
    say!("  {what}: {verdict} (version {}{position}), balance {}", done.version, done.state.balance);
}

fn deposit(cents: i64, purpose: &str) -> AccountCommand {
    AccountCommand::Deposit { amount: Money::from_cents(cents), purpose: Some(purpose.to_owned()) }
}

fn withdraw(cents: i64, purpose: &str) -> AccountCommand {
    AccountCommand::Withdraw { amount: Money::from_cents(cents), purpose: Some(purpose.to_owned()) }
}
