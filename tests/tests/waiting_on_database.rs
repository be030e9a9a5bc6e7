//! A projection whose row another session of PostgreSQL has locked says whose session that is, within five seconds.

use std::time::Duration;

use es_core::{ConsumerStore, EventStore, HandlerError, Projection, Recorded};
use es_e2e::{
    progress::{Progress, STALL},
    server::{shared_postgres_url, unique_schema},
    workload::Workload,
};
use es_postgres::{PgConnection, PgOptions};
use es_projections::{ConsumerState, Runner, Verdict};
use es_testkit::bank::AccountEvent;
use sqlx::{AssertSqlSafe, Connection};

/// Counts events, in one row.
struct Total {
    schema: String,
}

impl Projection for Total {
    type Connection = PgConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "total"
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        let Self { schema } = self;
        let create =
            format!("CREATE TABLE IF NOT EXISTS {schema}.total (id bigint PRIMARY KEY, events bigint NOT NULL)");
        sqlx::query(AssertSqlSafe(create)).execute(&mut *connection).await?;
        let first = format!("INSERT INTO {schema}.total VALUES (1, 0) ON CONFLICT DO NOTHING");
        sqlx::query(AssertSqlSafe(first)).execute(connection).await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut PgConnection, _: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let update = format!("UPDATE {}.total SET events = events + 1 WHERE id = 1", self.schema);
        sqlx::query(AssertSqlSafe(update)).execute(connection).await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        let clear = format!("UPDATE {}.total SET events = 0", self.schema);
        sqlx::query(AssertSqlSafe(clear)).execute(connection).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_that_waits_for_another_session_names_it_within_five_seconds() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let store = PgOptions::new(format!("{url}?application_name={schema}"))
        .schema(&schema)
        .max_connections(2)
        .connect()
        .await
        .expect("the store opens");
    let runner = Runner::builder(&store).projection(Total { schema: schema.clone() }).build().expect("a runner");
    runner.catch_up().await.expect("an empty log");

    let mut other = sqlx::PgConnection::connect(&format!("{url}?application_name=somebody")).await.expect("a session");
    let lock = format!("SELECT events FROM {schema}.total WHERE id = 1 FOR UPDATE");
    let mut transaction = other.begin().await.expect("a transaction");
    sqlx::query(AssertSqlSafe(lock.clone())).execute(&mut *transaction).await.expect("the lock");
    let (pid,): (i32,) =
        sqlx::query_as("SELECT pg_backend_pid()").fetch_one(&mut *transaction).await.expect("its process");
    sqlx::query(AssertSqlSafe(lock.clone())).execute(&mut *transaction).await.expect("the lock again");

    let workload = Workload::new();
    workload.write(&store, || workload.acknowledged() >= 5).await;
    let head = store.head().await.expect("the head");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn({
        let runner = runner.clone();
        async move { runner.run(async { _ = stopped.await }).await }
    });
    let mut progress = Progress::new();
    let waits = loop {
        let status = runner.status().await.expect("a status").remove(0);
        if let ConsumerState::WaitingOnDatabase { waits } = status.state {
            break waits;
        }
        progress.note(status.state.label());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let [wait] = waits.as_slice() else { panic!("one call waits, not {waits:?}") };
    assert!(wait.query.contains("UPDATE") && wait.query.contains(".total"), "{wait}");
    let [blocker] = wait.blocked_by.as_slice() else { panic!("one session keeps it waiting, not {wait:?}") };
    assert_eq!((blocker.pid, blocker.query.as_str()), (pid, lock.as_str()));
    assert_eq!((blocker.application_name.as_str(), blocker.state.as_str()), ("somebody", "idle in transaction"));
    assert!(blocker.since.is_some(), "{blocker}");
    assert_eq!(runner.health().await.expect("a health").verdict, Verdict::Degraded);

    transaction.rollback().await.expect("the lock is let go");
    runner.wait_for("total", head, STALL).await.expect("it goes on");
    let name = es_core::ConsumerName::new("total").expect("a name");
    assert!(store.checkpoint(&name).await.expect("a checkpoint").is_some_and(|found| found.position == head));
    let _ = stop.send(());
    running.await.expect("the runner ends").expect("nothing stopped");
}
