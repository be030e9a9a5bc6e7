//! Read models of every kind over one category of events: what tests of rebuilds compare.

use std::collections::BTreeMap;

use es_core::{
    Append, Coverage, DocumentAction, DomainEvent, EventType, ExpectedVersion, HandlerError, InvalidName, NewEvent,
    Payload, Projection, Recorded, TableNames, Upcasters, View,
};
use es_testkit::{SeededRng, bank::AccountEvent};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};

use crate::workload::{ACCOUNTS, account};

/// Several documents for each event: one for its account, one for a few accounts together, and one for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// The events that it was made of.
    pub events: u64,
    /// What they come to.
    pub cents: i64,
    /// The position of the last one.
    pub last: u64,
}

/// The key of the document for all accounts.
pub const ALL: &str = "all";
/// How the keys of the documents for a few accounts begin; each event is in one of them.
pub const GROUP: &str = "group-";

impl View for Groups {
    const NAME: &'static str = "groups";
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        let id = event.stream().id();
        vec![ALL.to_owned(), format!("{GROUP}{}", id.len() + usize::from(id.ends_with('1'))), format!("account-{id}")]
    }

    fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
        self.events += 1;
        self.cents += cents(&event.event);
        self.last = event.position().get();
        DocumentAction::Keep
    }
}

/// An account's events as they are read today, of which some were written in older forms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Booked {
    /// Money came in.
    Deposited {
        /// How much, in cents.
        cents: i64,
    },
    /// Money went out.
    Withdrawn {
        /// How much, in cents.
        cents: i64,
    },
}

#[derive(Deserialize)]
struct InCrowns {
    crowns: i64,
}

#[derive(Deserialize)]
struct Turned {
    into: i64,
    out: i64,
}

impl DomainEvent for Booked {
    const CATEGORY: &'static str = "account";
    const COVERAGE: Coverage = Coverage::Part;

    fn upcasters() -> Upcasters<Self> {
        Upcasters::none()
            .convert("CrownsDeposited", |old: InCrowns| Booked::Deposited { cents: old.crowns * 100 })
            .split("Turned", |old: Turned| {
                vec![Booked::Deposited { cents: old.into }, Booked::Withdrawn { cents: old.out }]
            })
            .retire("AuditRequested")
    }
}

/// A view of events in older forms too; what comes to nothing is deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookings {
    /// How many bookings there were since it was last empty.
    pub bookings: u64,
    /// What they come to.
    pub cents: i64,
}

impl View for Bookings {
    const NAME: &'static str = "bookings";
    type Event = Booked;

    fn keys(event: &Recorded<Booked>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<Booked>) -> DocumentAction {
        self.bookings += 1;
        match event.event {
            Booked::Deposited { cents } => self.cents += cents,
            Booked::Withdrawn { cents } => self.cents -= cents,
        }
        if self.cents % 11 == 0 { DocumentAction::Delete } else { DocumentAction::Keep }
    }
}

fn cents(event: &AccountEvent) -> i64 {
    match event {
        AccountEvent::Deposited { cents } => *cents,
        AccountEvent::Withdrawn { cents } => -cents,
        AccountEvent::Opened { .. } | AccountEvent::Closed => 0,
    }
}

/// A projection with two tables, which always hold equally many events: one row for each account, and one for each amount.
/// It writes event by event, or page by page.
#[derive(Debug, Clone)]
pub struct Turnover {
    name: &'static str,
    /// Before the names of its tables: a schema and a dot, or nothing.
    schema: String,
    by_page: bool,
    accounts: String,
    amounts: String,
}

/// The projection that writes event by event, and the one that writes page by page.
pub const TURNOVERS: [&str; 2] = ["by_event", "by_page"];

impl Turnover {
    /// A projection of one of these names. Its tables begin with the name.
    pub fn new(name: &'static str, schema: &str) -> Self {
        let by_page = name == TURNOVERS[1];
        Self { name, schema: schema.to_owned(), by_page, accounts: String::new(), amounts: String::new() }
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Self, InvalidName> {
        let Self { name, schema, .. } = self;
        let accounts = names.table(&format!("{schema}{name}_accounts"))?;
        let amounts = names.table(&format!("{schema}{name}_amounts"))?;
        Ok(Self { accounts, amounts, ..self.clone() })
    }

    fn create(&self) -> [String; 2] {
        [&self.accounts, &self.amounts].map(|table| {
            format!("CREATE TABLE IF NOT EXISTS {table} (key text PRIMARY KEY, cents bigint, events bigint)")
        })
    }

    fn clear(&self) -> [String; 2] {
        [&self.accounts, &self.amounts].map(|table| format!("DELETE FROM {table}"))
    }

    fn write(&self, events: &[Recorded<AccountEvent>]) -> [String; 2] {
        let (mut accounts, mut amounts) = (BTreeMap::new(), BTreeMap::new());
        for event in events {
            let cents = cents(&event.event);
            let rows = [
                accounts.entry(event.stream().id().to_owned()).or_insert((0, 0)),
                amounts.entry((cents % 10).to_string()).or_insert((0, 0)),
            ];
            for (sum, count) in rows {
                (*sum, *count) = (*sum + cents, *count + 1);
            }
        }
        [(&self.accounts, accounts), (&self.amounts, amounts)].map(|(table, rows)| {
            let rows: Vec<_> =
                rows.iter().map(|(key, (cents, count))| format!("('{key}', {cents}, {count})")).collect();
            format!(
                "INSERT INTO {table} AS t (key, cents, events) VALUES {} ON CONFLICT (key) DO UPDATE \
                 SET cents = t.cents + excluded.cents, events = t.events + excluded.events",
                rows.join(", ")
            )
        })
    }
}

/// How many events the two tables of a [`Turnover`] hold, by one statement.
pub fn count_of(name: &str, schema: &str) -> String {
    let sum = |table: &str| format!("(SELECT CAST(coalesce(sum(events), 0) AS bigint) FROM {schema}{name}_{table})");
    // In the other order than a swap takes them.
    format!("SELECT {}, {}", sum("amounts"), sum("accounts"))
}

/// The rows of a table of a [`Turnover`], in the order of their keys.
pub fn rows_of(name: &str, schema: &str, table: &str) -> String {
    format!("SELECT key || ' ' || cents || ' ' || events FROM {schema}{name}_{table} ORDER BY key")
}

macro_rules! turnover_on {
    ($name:ident, $connection:ty) => {
        /// A [`Turnover`] on one database.
        #[derive(Debug, Clone)]
        pub struct $name(pub Turnover);

        impl Projection for $name {
            type Connection = $connection;
            type Event = AccountEvent;

            fn name(&self) -> &str {
                self.0.name
            }

            fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
                Ok(Some(Self(self.0.in_generation(names)?)))
            }

            async fn prepare(&self, connection: &mut $connection) -> Result<(), HandlerError> {
                for sql in self.0.create() {
                    sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await?;
                }
                Ok(())
            }

            async fn apply(
                &self,
                connection: &mut $connection,
                event: &Recorded<AccountEvent>,
            ) -> Result<(), HandlerError> {
                for sql in self.0.write(std::slice::from_ref(event)) {
                    sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *connection).await?;
                }
                Ok(())
            }

            async fn apply_page(
                &self,
                connection: &mut $connection,
                events: &[Recorded<AccountEvent>],
            ) -> Result<(), HandlerError> {
                if !self.0.by_page {
                    for event in events {
                        self.apply(connection, event).await.map_err(|error| error.or_at(event.position()))?;
                    }
                    return Ok(());
                }
                for sql in self.0.write(events) {
                    sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *connection).await?;
                }
                Ok(())
            }

            async fn clear(&self, connection: &mut $connection) -> Result<(), HandlerError> {
                for sql in self.0.clear() {
                    sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await?;
                }
                Ok(())
            }
        }
    };
}

turnover_on!(PgTurnover, PgConnection);
turnover_on!(SqliteTurnover, SqliteConnection);

/// One to five random events of one account, in forms of today and of before.
///
/// # Panics
/// Never: it is within the limits of an append.
pub fn random_append(random: &SeededRng) -> Append {
    let events = (0..=random.below(5)).map(|_| {
        let cents = random.below(1_000);
        let (kind, json) = match random.below(12) {
            0 => ("Opened", format!(r#"{{"owner":"o{cents}"}}"#)),
            1 => ("Closed", "{}".to_owned()),
            2 | 3 => ("Withdrawn", format!(r#"{{"cents":{cents}}}"#)),
            4 => ("CrownsDeposited", format!(r#"{{"crowns":{cents}}}"#)),
            5 => ("Turned", format!(r#"{{"into":{cents},"out":{}}}"#, random.below(1_000))),
            6 => ("AuditRequested", "{}".to_owned()),
            _ => ("Deposited", format!(r#"{{"cents":{cents}}}"#)),
        };
        let payload = Payload::from_json(json).expect("JSON");
        NewEvent::new(EventType::new(kind).expect("a valid event type"), payload)
    });
    let events = events.collect();
    Append::to(account(random.below(ACCOUNTS)), ExpectedVersion::Any, events).build().expect("within the limits")
}
