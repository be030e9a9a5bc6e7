//! The service over HTTP, in this process.

mod support;

use es_core::{
    Append, EventStore, EventType, ExpectedVersion, MemoryStore, NewEvent, Payload, Position, StreamId,
    limits::{BUSY_RETRIES, MAX_IDEMPOTENCY_KEY_BYTES, UNKNOWN_OUTCOME_RETRIES},
};
use es_testkit::{Fault, FaultPlan, FaultyStore, Operation};
use serde_json::{Value, json};
use support::{Client, Server};
use tokio::time::timeout;

async fn serve() -> Client {
    Server::start(MemoryStore::new()).await.client
}

/// Opens accounts for Ann, with 100 cents, and for Bob.
async fn two_accounts(client: &Client) {
    for (id, owner) in [("ann", "Ann"), ("bob", "Bob")] {
        let opened = client.command(&format!("/accounts/{id}"), &format!("open {id}"), json!({"owner": owner})).await;
        assert_eq!(opened.status, 201, "{opened:?}");
    }
    let deposited = client.command("/accounts/ann/deposits", "salary", json!({"cents": 100})).await;
    assert_eq!((deposited.status, &deposited.body["cents"]), (200, &json!(100)), "{deposited:?}");
}

#[tokio::test]
async fn a_client_that_passes_the_position_on_reads_its_own_writes() {
    let client = serve().await;
    two_accounts(&client).await;
    for n in 1..=20 {
        let transfer = json!({"from": "ann", "to": "bob", "cents": 5});
        let done = client.command("/transfers", &format!("transfer {n}"), transfer).await;
        let bookmark = done.header("event-bookmark").unwrap();
        assert!(bookmark.starts_with(&format!("{}@", done.body["position"])), "{bookmark}");
        let expected = json!({"account": "ann", "cents": 100 - 5 * n, "position": 3 + 2 * n, "is_repeated": false});
        assert_eq!((done.status, &done.body), (200, &expected));
        let shown = client.balance("bob", Some(bookmark)).await;
        assert_eq!((shown.status, &shown.body), (200, &json!({"owner": "Bob", "cents": 5 * n})));
    }
}

#[tokio::test]
async fn a_question_for_a_position_that_the_read_model_does_not_reach_says_when_to_ask_again() {
    let client = serve().await;
    two_accounts(&client).await;
    let shown = client.balance("ann", Some("4")).await;
    assert_eq!((shown.status, shown.header("retry-after")), (503, Some("1")), "{shown:?}");
    assert_eq!(shown.header("content-type"), Some("application/problem+json"));
    assert_eq!(shown.body["title"], "read model behind");
}

#[tokio::test]
async fn a_bookmark_of_a_write_that_the_log_lost_is_not_taken_for_another_write() {
    let client = serve().await;
    two_accounts(&client).await;
    let lost = "3@01890a5d-ac96-774b-bcce-b302099a8057";
    let shown = client.balance("ann", Some(lost)).await;
    assert_eq!((shown.status, &shown.body["title"]), (410, &json!("write lost")), "{shown:?}");
    let updates = client.call("GET", "/events", &[("last-event-id", lost)], "").await;
    assert_eq!((updates.status, &updates.body["title"]), (410, &json!("log went back")), "{updates:?}");
}

#[tokio::test]
async fn what_the_domain_refuses_is_told_in_its_words_and_changes_nothing() {
    let client = serve().await;
    two_accounts(&client).await;
    let transfer = |to: &str, cents: i64| json!({"from": "ann", "to": to, "cents": cents});
    for (path, body, detail) in [
        ("/accounts/ann/withdrawals", json!({"cents": 101}), "the balance is 100 cents, too little to withdraw 101"),
        (
            "/accounts/ann/deposits",
            json!({"cents": 0}),
            "an amount must be from 1 to 100000000000 cents, and this is 0",
        ),
        ("/accounts/ann", json!({"owner": "Ann"}), "the account is already open"),
        ("/accounts/eve/deposits", json!({"cents": 1}), "there is no such account: open it first"),
        ("/transfers", transfer("bob", 101), "the balance is 100 cents, too little to withdraw 101"),
        ("/transfers", transfer("eve", 1), "there is no such account: open it first"),
    ] {
        let refused = client.command(path, &format!("{path} {body}"), body).await;
        let expected = json!({"title": "refused", "status": 422, "detail": detail});
        assert_eq!((refused.status, refused.body), (422, expected));
    }
    let shown = client.balance("ann", Some("3")).await;
    assert_eq!(shown.body, json!({"owner": "Ann", "cents": 100}));
}

#[tokio::test]
async fn a_command_that_is_sent_again_under_its_key_is_carried_out_once() {
    let client = serve().await;
    two_accounts(&client).await;
    let withdraw = || client.command("/accounts/ann/withdrawals", "rent", json!({"cents": 70}));
    let (first, second) = (withdraw().await, withdraw().await);
    assert_eq!((&first.body["is_repeated"], &second.body["is_repeated"]), (&json!(false), &json!(true)));
    for field in ["account", "cents", "position"] {
        assert_eq!(first.body[field], second.body[field]);
    }
    let transfer = json!({"from": "ann", "to": "bob", "cents": 70});
    for (path, body) in [
        ("/accounts/bob/withdrawals", json!({"cents": 70})),
        ("/accounts/ann/withdrawals", json!({"cents": 71})),
        ("/accounts/ann/deposits", json!({"cents": 70})),
        ("/accounts/ann", json!({"owner": "Ann"})),
        ("/transfers", transfer),
    ] {
        let other = client.command(path, "rent", body).await;
        assert_eq!((other.status, &other.body["title"]), (422, &json!("idempotency key reused")), "{path}: {other:?}");
    }
}

#[tokio::test]
async fn bad_input_is_a_problem_of_the_clients() {
    let client = serve().await;
    let json_type = ("content-type", "application/json");
    let key = ("idempotency-key", "1");
    let long_key = "k".repeat(MAX_IDEMPOTENCY_KEY_BYTES + 1);
    let opening = r#"{"owner": "Ann"}"#;
    let large = format!(r#"{{"owner": "{}"}}"#, "x".repeat(3_000_000));
    for (path, headers, body, status) in [
        ("/accounts/ann", vec![json_type, key], "{", 400),
        ("/accounts/ann", vec![json_type, key], r#"{"name": "Ann"}"#, 400),
        ("/accounts/ann", vec![json_type, key], r#"{"owner": "A\u0000"}"#, 400),
        ("/accounts/ann", vec![json_type, key], &large, 413),
        ("/accounts/ann", vec![key], opening, 415),
        ("/accounts/ann", vec![json_type], opening, 400),
        ("/accounts/ann", vec![json_type, ("idempotency-key", &long_key)], opening, 400),
        ("/accounts/a%0Ab", vec![json_type, key], opening, 400),
        ("/transfers", vec![json_type, key], r#"{"from": "ann", "to": "ann", "cents": 1}"#, 400),
        ("/nothing", vec![json_type, key], opening, 404),
    ] {
        let answer = client.call("POST", path, &headers, body).await;
        assert_eq!(answer.status, status, "{path} {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path} {answer:?}");
        assert!(answer.body["detail"].is_string(), "{answer:?}");
    }
    assert_eq!(client.balance("ann", None).await.status, 404);
    assert_eq!(client.balance("ann", Some("soon")).await.status, 400);
    let updates = client.call("GET", "/events", &[("last-event-id", "7")], "").await;
    assert_eq!(updates.status, 400, "the log does not reach that far: {updates:?}");
}

#[tokio::test]
async fn a_busy_store_and_an_unknown_outcome_say_what_to_do() {
    let store = FaultyStore::new(MemoryStore::new(), FaultPlan::none());
    let client = Server::start(store.clone()).await.client;
    two_accounts(&client).await;
    let deposit = |key: &'static str| client.command("/accounts/ann/deposits", key, json!({"cents": 1}));

    (0..=BUSY_RETRIES).for_each(|_| store.plan().fail_next(Operation::Append, Fault::Busy));
    let busy = deposit("busy").await;
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("1")), "{busy:?}");
    assert_eq!(busy.body["detail"], "nothing was changed; try again");
    assert_eq!(deposit("busy").await.body["cents"], 101);

    (0..=UNKNOWN_OUTCOME_RETRIES).for_each(|_| store.plan().fail_next(Operation::Append, Fault::LostAnswer));
    let unknown = deposit("unknown").await;
    assert_eq!((unknown.status, unknown.header("retry-after")), (503, Some("1")), "{unknown:?}");
    assert!(unknown.body["detail"].as_str().unwrap().contains("same Idempotency-Key"), "{unknown:?}");
    let again = deposit("unknown").await;
    assert_eq!((&again.body["cents"], &again.body["is_repeated"]), (&json!(102), &json!(true)), "{again:?}");
}

fn update(position: u64, event: &str, account: &str, content: Value) -> Option<(String, String, Value)> {
    let data = json!({"account": account, "event": {event: content}});
    Some((position.to_string(), event.to_owned(), data))
}

#[tokio::test]
async fn live_updates_begin_now_or_after_the_last_one_that_the_client_was_given() {
    let client = serve().await;
    two_accounts(&client).await;
    let mut now = client.updates("/events", None).await;
    let mut of_bob = client.updates("/accounts/bob/events", None).await;
    let mut again = client.updates("/events", Some("1")).await;

    client.command("/transfers", "rent", json!({"from": "ann", "to": "bob", "cents": 40})).await;
    for (position, event, account, content) in [
        (2, "Opened", "bob", json!({"owner": "Bob"})),
        (3, "Deposited", "ann", json!({"cents": 100})),
        (4, "Withdrawn", "ann", json!({"cents": 40})),
        (5, "Deposited", "bob", json!({"cents": 40})),
    ] {
        assert_eq!(again.next().await, update(position, event, account, content.clone()));
        if position > 3 {
            assert_eq!(now.next().await, update(position, event, account, content.clone()));
        }
        if position > 3 && account == "bob" {
            assert_eq!(of_bob.next().await, update(position, event, account, content));
        }
    }
}

#[tokio::test]
async fn a_shutdown_ends_live_updates_and_refuses_new_requests() {
    let server = Server::start(MemoryStore::new()).await;
    let client = server.client;
    two_accounts(&client).await;
    let mut updates = client.updates("/events", Some("2")).await;
    assert_eq!(updates.next().await, update(3, "Deposited", "ann", json!({"cents": 100})));
    let running = server.shut_down();
    assert_eq!(updates.next().await, None);
    Server::ended(running).await.unwrap();
    assert!(tokio::net::TcpStream::connect(client.address).await.is_err());
}

#[tokio::test]
async fn the_service_ends_with_its_read_model_and_says_why() {
    let store = MemoryStore::new();
    let server = Server::start(store.clone()).await;
    two_accounts(&server.client).await;
    let health = server.client.call("GET", "/health", &[], "").await;
    assert_eq!(health.status, 200, "{health:?}");

    let unreadable = Payload::from_json(r#"{"cents": "many"}"#).unwrap();
    let event = NewEvent::new(EventType::new("Deposited").unwrap(), unreadable);
    let stream = StreamId::new("account", "ann").unwrap();
    let append = Append::to(stream, ExpectedVersion::Any, vec![event]).build().unwrap();
    assert_eq!(store.append(&append).await.unwrap().last_position, Position::new(4));
    let asking = async {
        loop {
            let health = server.client.call("GET", "/health", &[], "").await;
            if health.status == 503 {
                return health;
            }
        }
    };
    let health = timeout(support::LONG, asking).await.expect("the read model tries again for longer than that");
    assert!(health.body[0].as_str().unwrap().contains("at the event at position 4"), "{health:?}");

    // Nothing comes over the network any more, and the waits between the tries take no time of ours.
    tokio::time::pause();
    let error = server.ends().await.unwrap_err();
    assert!(error.to_string().contains("position 4"), "{error}");
}
