//! A projection with tables of its own, written once, runs on SQLite and on PostgreSQL.

use std::marker::PhantomData;

use es_core::{
    Append, EventStore, EventType, ExpectedVersion, HandlerError, InboxStore, InvalidName, MessageUnit, NewEvent,
    Payload, Projection, Recorded, RunnerStore, SqlDialect, SqlRow, SqlStore, StreamId, TableNames,
};
use es_e2e::server::{Folder, shared_postgres_url, unique_schema};
use es_postgres::{PgOptions, PgStore};
use es_projections::Runner;
use es_sqlite::SqliteStore;
use es_testkit::bank::AccountEvent;

/// One row for each event, and their sum for each account.
struct Entries<S> {
    /// The name of the table, with its schema if it has one.
    stable: String,
    table: String,
    store: PhantomData<fn(S)>,
}

impl<S> Entries<S> {
    fn new(stable: &str) -> Self {
        Self { stable: stable.to_owned(), table: String::new(), store: PhantomData }
    }
}

impl<S: SqlStore> Projection for Entries<S> {
    type Connection = S::Connection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "entries"
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(Some(Self { table: names.table(&self.stable)?, ..Self::new(&self.stable) }))
    }

    async fn prepare(&self, connection: &mut S::Connection) -> Result<(), HandlerError> {
        let bytes = match S::DIALECT {
            SqlDialect::PostgreSql => "BYTEA",
            _ => "BLOB",
        };
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} (
                 account TEXT PRIMARY KEY, cents BIGINT NOT NULL, small INTEGER, is_rich BOOLEAN NOT NULL,
                 ratio DOUBLE PRECISION, note TEXT, picture {bytes}
             )",
            self.table
        );
        S::execute(connection, &create, &[]).await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut S::Connection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let AccountEvent::Deposited { cents } = event.event else { return Ok(()) };
        let add = format!(
            "INSERT INTO {0} AS e (account, cents, small, is_rich, ratio, note, picture)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (account) DO UPDATE SET cents = e.cents + excluded.cents, is_rich = excluded.is_rich",
            self.table
        );
        let account = event.stream().id();
        let note = account.contains('\'').then_some("a quote");
        let values = [
            account.into(),
            cents.into(),
            None::<i64>.into(),
            (cents > 100).into(),
            (cents as f64 / 8.0).into(),
            note.into(),
            vec![0_u8, 255].into(),
        ];
        let changed = S::execute(connection, &add, &values).await?;
        assert_eq!(changed, 1);
        Ok(())
    }

    async fn clear(&self, connection: &mut S::Connection) -> Result<(), HandlerError> {
        S::execute(connection, &format!("DELETE FROM {}", self.table), &[]).await?;
        Ok(())
    }
}

async fn deposit(store: &impl EventStore, account: &str, cents: i64) {
    let payload = Payload::from_json(format!(r#"{{"cents":{cents}}}"#)).unwrap();
    let deposited = NewEvent::new(EventType::new("Deposited").unwrap(), payload);
    let stream = StreamId::new("account", account).unwrap();
    let append = Append::to(stream, ExpectedVersion::Any, vec![deposited]).build().unwrap();
    store.append(&append).await.unwrap();
}

/// What the read model holds, by way of the same trait.
async fn check<S>(store: S, table: &str)
where
    S: SqlStore + RunnerStore + EventStore + InboxStore + Clone,
    S::Unit: MessageUnit<Connection = S::Connection>,
{
    for (account, cents) in [("ann", 100), ("o'neil", 7), ("ann", 101)] {
        deposit(&store, account, cents).await;
    }
    let runner = Runner::builder(&store).projection(Entries::<S>::new(table)).build().unwrap();
    runner.catch_up().await.unwrap();
    runner.rebuild("entries", |_| {}).await.unwrap();

    let mut unit = store.begin_unit().await.unwrap();
    let all = format!("SELECT account, cents, small, is_rich, ratio, note, picture FROM {table} ORDER BY account");
    let rows = S::fetch(unit.connection(), &all, &[]).await.unwrap();
    let read = |row: &SqlRow| {
        let account: String = row.get(0).unwrap();
        let numbers: (i64, Option<i32>, f64) = (row.get(1).unwrap(), row.get(2).unwrap(), row.get(4).unwrap());
        let note: Option<String> = row.get(5).unwrap();
        assert_eq!(row.get(6), Ok(vec![0_u8, 255]));
        (account, numbers, row.get::<bool>(3).unwrap(), note)
    };
    let expected = [
        ("ann".to_owned(), (201, None, 12.5), true, None),
        ("o'neil".to_owned(), (7, None, 0.875), false, Some("a quote".to_owned())),
    ];
    assert_eq!(rows.iter().map(read).collect::<Vec<_>>(), expected);

    let bound = format!("SELECT count(*) FROM {table} WHERE account = $1 AND cents < $2 AND small IS NULL");
    let counted = S::fetch(unit.connection(), &bound, &["o'neil".into(), 8_i64.into()]).await.unwrap();
    assert_eq!(counted[0].get(0), Ok(1_i64));
    assert!(S::execute(unit.connection(), "NOT SQL", &[]).await.is_err());
    unit.rollback().await.unwrap();
}

#[tokio::test]
async fn it_runs_on_sqlite() {
    let folder = Folder::new();
    check::<SqliteStore>(SqliteStore::open(folder.path("store.db")).await.unwrap(), "entries").await;
}

#[tokio::test]
async fn it_runs_on_postgresql() {
    let schema = unique_schema();
    let store: PgStore = PgOptions::new(shared_postgres_url()).schema(&schema).connect().await.unwrap();
    check::<PgStore>(store, &format!("{schema}.entries")).await;
}
