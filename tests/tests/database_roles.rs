//! Programs that connect to PostgreSQL as the roles of the script, each with what its work needs and no more.

use std::time::Duration;

use es_core::{
    Append, ConsumerStoreExt, EventStore, EventType, ExpectedVersion, NewEvent, OperatorRequest, Payload, Position,
    Repository, StreamId,
};
use es_e2e::server::{shared_postgres_url, unique_schema};
use es_postgres::{
    PgConnection, PgOptions, PgStore, roles_script,
    sqlx::{self, AssertSqlSafe, Connection, postgres::PgConnectOptions},
};
use es_projections::{ConsumerOptions, FailurePolicy, RebuildOptions, Rebuilt, Runner, Verification};
use es_testkit::bank::{Account, AccountCommand, Balance};

const LIMIT: Duration = Duration::from_secs(30);

async fn execute(sql: String) {
    let mut admin = PgConnection::connect(&shared_postgres_url()).await.expect("a connection");
    sqlx::raw_sql(AssertSqlSafe(sql.clone()))
        .execute(&mut admin)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A store as a login role of a group. Read models belong to the group itself, so that all its members can change them.
async fn store_as(schema: &str, group: &str, acts_as: Option<&str>) -> PgStore {
    let options: PgConnectOptions = shared_postgres_url().parse().expect("a URL");
    let mut options = options.username(&format!("{schema}_l_{group}"));
    if let Some(group) = acts_as {
        options = options.options([("role", format!("{schema}_{group}"))]);
    }
    let options = PgOptions::from_connect_options(options).schema(schema).max_connections(4).migrate(false);
    options.connect().await.expect("the store opens")
}

fn runner(store: &PgStore) -> Runner {
    let options = ConsumerOptions::default().on_failure(FailurePolicy::park_after(1));
    Runner::builder(store).view_with::<Balance>(options).build().expect("a runner")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_works_with_one_role_for_each_of_its_programs() {
    let schema = unique_schema();
    let url = shared_postgres_url();
    PgOptions::new(&url).schema(&schema).connect().await.expect("it migrates").close().await;
    execute(roles_script(&schema).expect("a script")).await;
    for group in ["reader", "writer", "projector", "operator"] {
        execute(format!("CREATE ROLE {schema}_l_{group} LOGIN IN ROLE {schema}_{group}")).await;
    }
    let writer = store_as(&schema, "writer", None).await;
    let projector = store_as(&schema, "projector", Some("projector")).await;
    let operator = store_as(&schema, "operator", Some("operator")).await;
    let reader = store_as(&schema, "reader", None).await;

    let accounts = Repository::<Account>::new(&writer);
    accounts.execute("ann", AccountCommand::Open { owner: "Ann".to_owned() }).await.expect("it is open");
    accounts.execute("ann", AccountCommand::Deposit { cents: 5 }).await.expect("it is deposited");
    let run = runner(&projector);
    run.catch_up().await.expect("it catches up");
    let cents = async |store: &PgStore| {
        store.view::<Balance>().get("ann").await.expect("the view can be read").map(|balance| balance.cents)
    };
    assert_eq!(cents(&reader).await, Some(5));
    assert_eq!(cents(&writer).await, Some(5));

    // An event that cannot be applied is parked by the projector, and discarded by the operator.
    let unknown = NewEvent::new(EventType::new("Deposited").expect("a type"), Payload::trusted("{}"));
    let stream = StreamId::new("account", "bob").expect("a stream");
    let append = Append::to(stream, ExpectedVersion::Any, vec![unknown]).build().expect("an append");
    writer.append(&append).await.expect("it is stored");
    run.catch_up().await.expect("it catches up");
    let parked = run.parked("balance", None, 10).await.expect("what is parked");
    assert_eq!(parked.len(), 1);
    let request = OperatorRequest::by("ann").and_then(|request| request.because("a test")).expect("a request");
    let operating = runner(&operator);
    operating.discard_parked("balance", &parked[0].key, None, &request).await.expect("it is discarded");
    operating.pause("balance", &request).await.expect("it pauses");
    accounts.execute("ann", AccountCommand::Deposit { cents: 1 }).await.expect("it is deposited");
    assert!(run.catch_up().await.is_err(), "it is paused");
    operating.resume("balance", &request).await.expect("it resumes");
    run.catch_up().await.expect("it catches up");
    assert_eq!(cents(&reader).await, Some(6));
    let options = RebuildOptions::by("ann").verify(Verification::MustMatch);
    let rebuilt = operating.rebuild_beside("balance", options, |_| {}).await.expect("it is built beside");
    assert!(matches!(rebuilt, Rebuilt::Live { .. }), "{rebuilt:?}");
    run.catch_up().await.expect("the projector goes on with what the operator built");
    assert_eq!(cents(&reader).await, Some(6));
    run.wait_for("balance", Position::new(4), LIMIT).await.expect("it is there");

    // None does the work of another.
    for (what, error) in [
        ("a projector does not append", format!("{:?}", projector.append(&append).await.err())),
        ("a reader does not append", format!("{:?}", reader.append(&append).await.err())),
        ("a writer does not run views", format!("{:?}", runner(&writer).catch_up().await.err())),
        ("a projector does not pause", format!("{:?}", run.pause("balance", &request).await.err())),
    ] {
        assert!(error.contains("the role lacks a privilege") && error.contains("roles_script"), "{what}: {error}");
    }

    drop((run, operating));
    for store in [writer, projector, operator, reader] {
        store.close().await;
    }
    execute(format!("DROP SCHEMA {schema} CASCADE")).await;
    for group in ["reader", "writer", "projector", "operator"] {
        execute(format!("DROP ROLE {schema}_l_{group}")).await;
    }
    for group in ["reader", "writer", "projector", "operator", "admin"] {
        execute(format!("DROP OWNED BY {schema}_{group}; DROP ROLE {schema}_{group}")).await;
    }
}
