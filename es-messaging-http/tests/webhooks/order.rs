//! Order per key.

use std::{collections::HashMap, sync::Mutex};

use es_messaging::{Outgoing, PublishError, Publisher};
use es_messaging_http::Webhook;

use crate::server::{Reply, Server, outgoing};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_key_keep_their_order_while_requests_fail() {
    let seed = uuid_seed();
    println!("seed {seed}");
    let state = Mutex::new(seed | 1);
    let server = Server::start(move |_| {
        let mut state = state.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        match *state % 5 {
            0 => Reply::Status(500),
            1 => Reply::Close,
            _ => Reply::Status(200),
        }
    })
    .await;
    let webhook = Webhook::new(server.config().parallel(16)).unwrap();
    let mut rest: Vec<Outgoing> =
        (0..400).map(|number| outgoing(&format!("{number}"), Some(&format!("k{}", number % 20)))).collect();
    let mut confirmed: Vec<u64> = Vec::new();
    for _ in 0..1_000 {
        let results = webhook.publish(&rest).await;
        let mut failed: HashMap<String, ()> = HashMap::new();
        let mut left = Vec::new();
        for (outgoing, result) in rest.into_iter().zip(results) {
            let key = outgoing.message.key().unwrap().to_owned();
            match result {
                Ok(()) => {
                    assert!(!failed.contains_key(&key), "one was published behind one that was not");
                    confirmed.push(outgoing.message.id().parse().unwrap());
                    continue;
                }
                Err(PublishError::Behind) => assert!(failed.contains_key(&key)),
                Err(_) => assert!(failed.insert(key, ()).is_none(), "a key went on after a failure"),
            }
            left.push(outgoing);
        }
        rest = left;
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(confirmed.len(), 400);
    // As it came to the receiver, also with requests again: of each key, numbers never go back behind one that was confirmed.
    let mut last: HashMap<u64, u64> = HashMap::new();
    for received in server.received() {
        let message: serde_json::Value = serde_json::from_slice(&received.body).unwrap();
        let number: u64 = message["id"].as_str().unwrap().parse().unwrap();
        let last = last.entry(number % 20).or_insert(number);
        assert!(number >= *last, "{number} came after {last}");
        *last = number;
    }
}

#[tokio::test]
async fn requests_at_a_time_are_bounded_and_keys_wait_for_nobody_else() {
    // Each request of key "slow" fails; the others get through.
    let server = Server::start(|received| {
        let is_slow = received.body.windows(6).any(|window| window == b"\"slow\"");
        if is_slow { Reply::Status(500) } else { Reply::Status(200) }
    })
    .await;
    let webhook = Webhook::new(server.config().parallel(3)).unwrap();
    let batch: Vec<Outgoing> = (0..30)
        .map(|number| outgoing(&number.to_string(), Some(if number % 2 == 0 { "slow" } else { "quick" })))
        .collect();
    let results = webhook.publish(&batch).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 15);
    assert_eq!(results.iter().filter(|result| matches!(result, Err(PublishError::Behind))).count(), 14);
    assert!(server.received().iter().all(|received| received.connection < 3));
}

fn uuid_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into()
}
