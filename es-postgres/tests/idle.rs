//! Connections that are closed while nobody uses them.

mod common;

use std::time::Duration;

use common::{Schema, append_to, connection, deposit, execute, number, url};
use es_core::{
    Append, ConsumerName, ConsumerStore, ConsumerStoreExt, DocumentQuery, EventFilter, EventStore, ExpectedVersion,
    PageSize, Position, Repository, SnapshotStore, StoreError, Version,
};
use es_postgres::{PgOptions, PgStore, sqlx::postgres::PgConnectOptions};
use es_testkit::bank::{Account, AccountCommand, Balance};

/// A store whose connections can be told from all others, in a session with these settings.
async fn store(schema: &Schema, settings: &[(&str, &str)], pipelined: bool) -> PgStore {
    let options = url().parse::<PgConnectOptions>().unwrap().application_name(&schema.name);
    let options = options.options(settings.iter().copied());
    let options = PgOptions::from_connect_options(options).schema(&schema.name).max_connections(3);
    let store = options.pipelined(pipelined).connect().await.unwrap();
    store.prepare_view(&balance()).await.unwrap();
    store
}

fn balance() -> ConsumerName {
    ConsumerName::new("balance").unwrap()
}

fn of_store(schema: &Schema, what: &str) -> String {
    format!("SELECT {what} FROM pg_stat_activity WHERE application_name = '{}'", schema.name)
}

/// Ends all sessions of the store, and returns when none of them is left on the server.
async fn end_sessions(schema: &Schema) {
    let mut admin = connection().await;
    number(&mut admin, of_store(schema, "count(pg_terminate_backend(pid))")).await;
    none_left(schema).await;
}

async fn none_left(schema: &Schema) {
    let mut admin = connection().await;
    let count = of_store(schema, "count(*)");
    let gone = async { while number(&mut admin, count.clone()).await > 0 {} };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

/// Everything that callers see, each on connections that were ended just before by `end`.
async fn each_call<F: AsyncFn()>(store: &PgStore, end: F) -> Vec<String> {
    let accounts = Repository::<Account>::new(store);
    let open = AccountCommand::Open { owner: "Ann".to_owned() };
    accounts.execute("ann", open).await.unwrap();
    let mut failed = Vec::new();
    let mut note = |what: &str, error: Option<String>| failed.extend(error.map(|error| format!("{what}: {error}")));
    macro_rules! call {
        ($what:literal, $call:expr) => {
            end().await;
            note($what, $call.await.err().map(|error| format!("{error:?}")));
        };
    }
    for _ in 0..2 {
        let stream = common::stream("ann");
        // The pool has more than one connection to lose.
        let _ = tokio::join!(store.head(), store.head(), store.head());
        call!("head", store.head());
        call!("read_all", store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()));
        call!("read_stream", store.read_stream(&stream, Version::ZERO, PageSize::default()));
        call!("read_tail", store.read_tail(&stream, Version::ZERO));
        call!("append", store.append(&deposit("bob")));
        call!("load", Repository::<Account>::new(store).load("ann"));
        call!("execute", accounts.execute("ann", AccountCommand::Deposit { cents: 1 }));
        call!("view", store.view::<Balance>().get("ann"));
        call!("documents", store.list_documents(&balance(), &DocumentQuery::ByKey { after: None, limit: 1 }));
        call!("checkpoint", store.checkpoint(&balance()));
        call!("snapshot", store.load_snapshot(&stream, "Account"));
        end().await;
        let mut unit = store.begin().await.unwrap();
        unit.append(append_to("unit", ExpectedVersion::Any)).unwrap();
        note("unit", unit.commit().await.err().map(|error| format!("{error:?}")));
    }
    failed
}

#[tokio::test]
async fn sessions_that_an_administrator_ended_between_calls_are_not_noticed() {
    for pipelined in [false, true] {
        let schema = Schema::new();
        let store = store(&schema, &[], pipelined).await;
        let failed = each_call(&store, async || end_sessions(&schema).await).await;
        assert!(failed.is_empty(), "{failed:#?}");
        // Once each: the two of each round, and two commands for the account and its opening.
        assert_eq!(store.head().await.unwrap(), Position::new(7));
        store.close().await;
    }
}

#[tokio::test]
async fn sessions_that_the_server_ends_as_idle_are_not_noticed() {
    let schema = Schema::new();
    // The server ends them before a connection is taken for idle here.
    let store = store(&schema, &[("idle_session_timeout", "200ms")], false).await;
    let failed = each_call(&store, async || none_left(&schema).await).await;
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(store.head().await.unwrap(), Position::new(7));
}

#[tokio::test]
async fn an_append_is_sent_again_after_a_session_that_ended_while_it_waited() {
    let schema = Schema::new();
    let store = store(&schema, &[], false).await;
    store.append(&deposit("ann")).await.unwrap();
    let mut slow = connection().await;
    execute(&mut slow, "BEGIN").await;
    store.append_in(&mut slow, &deposit("slow")).await.unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.append(&deposit("ann")).await }
    });
    let mut admin = connection().await;
    let end = of_store(&schema, "count(pg_terminate_backend(pid))") + " AND wait_event_type = 'Lock'";
    while number(&mut admin, end.clone()).await == 0 {}
    common::somebody_waits(&schema).await;
    execute(&mut slow, "COMMIT").await;
    let appended = waiting.await.unwrap().unwrap();
    assert_eq!((appended.last_position, appended.repeated), (Position::new(3), false));
}

#[tokio::test]
async fn an_append_whose_sessions_end_again_and_again_is_given_up() {
    let schema = Schema::new();
    let store = store(&schema, &[], false).await;
    let mut slow = connection().await;
    execute(&mut slow, "BEGIN").await;
    store.append_in(&mut slow, &deposit("slow")).await.unwrap();
    let append: Append = deposit("ann");
    let mut waiting = tokio::spawn({
        let (store, append) = (store.clone(), append.clone());
        async move { store.append(&append).await }
    });
    let mut admin = connection().await;
    let end = of_store(&schema, "count(pg_terminate_backend(pid))") + " AND wait_event_type = 'Lock'";
    let mut ended = 0;
    let outcome = loop {
        tokio::select! {
            outcome = &mut waiting => break outcome.unwrap(),
            count = number(&mut admin, end.clone()) => ended += count,
        }
    };
    assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
    assert!(ended > i64::from(es_core::limits::RECONNECTS_PER_CALL), "{ended}");
    execute(&mut slow, "ROLLBACK").await;
    assert!(!store.append(&append).await.unwrap().repeated);
}

/// Something between swallows what is sent on connections that were open: nobody answers, nobody closes them.
#[tokio::test]
async fn connections_that_a_network_has_forgotten_are_replaced() {
    let schema = Schema::new();
    let direct = url().parse::<PgConnectOptions>().unwrap();
    let proxy = es_testkit::TcpProxy::to(direct.get_port()).await.unwrap();
    let options = direct.host("127.0.0.1").port(proxy.port()).application_name(&schema.name);
    let options = PgOptions::from_connect_options(options).schema(&schema.name).max_connections(2).listen(false);
    let store = options.connect().await.unwrap();
    store.append(&deposit("ann")).await.unwrap();
    store.head().await.unwrap();
    // Idle for long enough to be tested.
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.forget();
    let call = async {
        store.append(&deposit("ann")).await.unwrap();
        assert_eq!(store.head().await.unwrap(), Position::new(2));
    };
    tokio::time::timeout(Duration::from_secs(20), call).await.unwrap();
    // And those that it closes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.set_open(false);
    proxy.set_open(true);
    store.append(&deposit("ann")).await.unwrap();
    assert_eq!(store.head().await.unwrap(), Position::new(3));
}
