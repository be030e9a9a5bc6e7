//! W1 to W3: commands through the repository.

use std::sync::Arc;

use es_core::{ExpectedVersion, Repository, RunnerStore};
use serde::{Deserialize, Serialize};

use super::{Bench, Names, floors};
use crate::{
    Error,
    account::{Account, AccountCommand},
    args::StoreKind,
    database::Place,
    line::Line,
    meter::{Sample, run_tasks},
};

/// Commands before the measurement, so that connections are open and statements are prepared.
const WARM_UP: u64 = 64;

/// W1: one client, each command on an aggregate that is known to be new.
pub async fn new_aggregates(bench: &Bench) -> Result<Vec<Line>, Error> {
    let names = Names { workload: "W1", variant: "", unit: "commands", floor: "F1" };
    let count = bench.scale.single;
    let floor = async |place: &Place| floors::rows(bench, place, 1, count).await;
    let workload = async |place: &Place| {
        let store = bench.database.open(place).await?;
        let accounts = Repository::<Account>::new(&store);
        warm_up(&store, 0).await?;
        open_accounts(&accounts, "new".to_owned(), count).await
    };
    Ok(vec![bench.compare(names, floor, workload).await?])
}

async fn open_accounts(accounts: &Repository<Account>, prefix: String, count: u64) -> Result<Sample, Error> {
    let accounts = accounts.clone();
    run_tasks(1, count, move |number| {
        let command = AccountCommand::Deposit { cents: 100 };
        let execute = accounts.execute(format!("{prefix}-{number}"), command).expecting(ExpectedVersion::NoStream);
        async move {
            execute.await?;
            Ok(())
        }
    })
    .await
}

/// W2: many clients over shared aggregates: load, decide, append one event, again after a conflict.
pub async fn shared_aggregates(bench: &Bench) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::new();
    let (count, accounts) = (bench.scale.shared, bench.scale.accounts);
    let names = Names { workload: "W2", variant: "32 tasks", unit: "commands", floor: "F2" };
    let floor = async |place: &Place| floors::rows(bench, place, floors::CLIENTS, count).await;
    let workload = async |place: &Place| deposits_after_warm_up(bench, place, Deposits::new(32, count, accounts)).await;
    lines.push(bench.compare(names, floor, workload).await?);

    // On SQLite both are measured against single rows.
    let is_sqlite = bench.kind == StoreKind::Sqlite;
    let floor = if is_sqlite { "F2" } else { "F3" };
    let names = Names { workload: "W2", variant: "256 tasks", unit: "commands", floor };
    let floor = async |place: &Place| match is_sqlite {
        true => floors::rows(bench, place, floors::CLIENTS, count).await,
        false => floors::pages_of_rows(bench, place).await,
    };
    let workload =
        async |place: &Place| deposits_after_warm_up(bench, place, Deposits::new(256, count, accounts)).await;
    lines.push(bench.compare(names, floor, workload).await?);
    Ok(lines)
}

/// Tasks of W3.
const MANY_TASKS: usize = 16;
/// Events of one of its commands.
const MANY_EVENTS: usize = 10;

/// W3: commands of ten events.
pub async fn many_events(bench: &Bench) -> Result<Vec<Line>, Error> {
    let names = Names { workload: "W3", variant: "", unit: "events", floor: "F3" };
    let floor = async |place: &Place| floors::pages_of_rows(bench, place).await;
    let workload = async |place: &Place| {
        let store = bench.database.open(place).await?;
        warm_up(&store, 0).await?;
        let accounts = Repository::<Account>::new(&store);
        let count = bench.scale.accounts;
        let commands = bench.scale.bulk / MANY_EVENTS as u64;
        let mut sample = run_tasks(MANY_TASKS, commands, move |number| {
            let command = AccountCommand::DepositOften { cents: 100, times: MANY_EVENTS };
            let execute = accounts.execute(format!("many-{}", scrambled(number) % count), command);
            async move {
                execute.await?;
                Ok(())
            }
        })
        .await?;
        sample.units *= MANY_EVENTS as u64;
        Ok(sample)
    };
    Ok(vec![bench.compare(names, floor, workload).await?])
}

/// How deposits are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposits {
    pub tasks: usize,
    pub count: u64,
    pub accounts: u64,
    /// What the accounts' names begin with.
    pub prefix: String,
    /// Where the numbers begin that draw the accounts.
    pub seed: u64,
}

impl Deposits {
    pub fn new(tasks: usize, count: u64, accounts: u64) -> Self {
        Self { tasks, count, accounts, prefix: "shared".to_owned(), seed: 0 }
    }
}

/// Deposits on a store that is opened for them.
pub async fn deposits_after_warm_up(bench: &Bench, place: &Place, how: Deposits) -> Result<Sample, Error> {
    let store = bench.database.open(place).await?;
    warm_up(&store, how.seed).await?;
    deposits(&store, how).await
}

/// Some commands on accounts of their own.
pub async fn warm_up(store: &Arc<dyn RunnerStore>, seed: u64) -> Result<(), Error> {
    open_accounts(&Repository::<Account>::new(store), format!("warm-up-{seed}"), WARM_UP).await?;
    Ok(())
}

/// Deposits on accounts drawn at random, from none to all of which are there already.
pub async fn deposits(store: &Arc<dyn RunnerStore>, how: Deposits) -> Result<Sample, Error> {
    let accounts = Repository::<Account>::new(store);
    run_tasks(how.tasks, how.count, move |number| {
        let account = scrambled(how.seed + number) % how.accounts;
        let execute = accounts.execute(format!("{}-{account}", how.prefix), AccountCommand::Deposit { cents: 100 });
        async move {
            execute.await?;
            Ok(())
        }
    })
    .await
}

/// A number that looks drawn at random, and is the same in every run (SplitMix64).
fn scrambled(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
