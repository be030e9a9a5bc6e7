//! A relay drives a webhook like any other broker: it tries again, keeps order, and puts aside what is refused.

use std::{collections::HashMap, sync::Arc};

use es_core::{
    Append, DeadLetterQuery, DeadLetterStore, DeadReason, DomainEvent, EventStore, ExpectedVersion, MemoryStore,
    NewEvent, Recorded, StreamId,
};
use es_messaging::{Publisher, Relay, map_into};
use es_messaging_http::{Webhook, WebhookVerifier};
use es_projections::Runner;
use serde::{Deserialize, Serialize};

use crate::server::{Reply, Server, secret};

#[derive(Clone, Serialize, Deserialize)]
enum OrderEvent {
    Placed { number: u64 },
}

impl DomainEvent for OrderEvent {
    const CATEGORY: &'static str = "order";
}

#[derive(Serialize)]
enum ShopMessage {
    OrderPlaced { number: u64 },
}

#[tokio::test]
async fn whatever_the_receiver_does_each_event_arrives_or_is_a_dead_letter() {
    let store = MemoryStore::new();
    for number in 0..40_u64 {
        let stream = StreamId::new("order", &format!("o{}", number % 4)).unwrap();
        let events = vec![NewEvent::of(&OrderEvent::Placed { number }).unwrap()];
        store.append(&Append::to(stream, ExpectedVersion::Any, events).build().unwrap()).await.unwrap();
    }
    let tries = std::sync::Mutex::new(HashMap::new());
    let server = Server::start(move |received| {
        let message = serde_json::from_slice::<serde_json::Value>(&received.body).unwrap();
        let number = message["data"]["number"].as_u64().unwrap();
        let mut tries = tries.lock().unwrap();
        let tries: &mut u32 = tries.entry(number).or_default();
        *tries += 1;
        match number {
            13 => Reply::Status(410),
            number if number % 7 == 0 && *tries == 1 => Reply::Status(503),
            number if number % 11 == 0 && *tries == 1 => Reply::Close,
            _ => Reply::Status(204),
        }
    })
    .await;
    let mapper = map_into("shop.", |event: &Recorded<OrderEvent>| {
        let OrderEvent::Placed { number } = event.event;
        Some(ShopMessage::OrderPlaced { number })
    });
    let webhook: Arc<dyn Publisher> = Arc::new(Webhook::new(server.config()).unwrap());
    let relay = Relay::builder("hook", "/shop/orders", mapper).build(webhook, Arc::new(store.clone())).unwrap();
    let runner = Runner::builder(&store).reactor_with(relay, Relay::options()).build().unwrap();
    runner.catch_up().await.unwrap();

    let letters = store.dead_letters(&DeadLetterQuery::default(), None, 10).await.unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(letter.letter.reason, DeadReason::Unroutable);
    assert!(letter.letter.error.contains("410"), "{}", letter.letter.error);

    let verifier = WebhookVerifier::new([secret(1)]).unwrap();
    let mut order: HashMap<String, Vec<u64>> = HashMap::new();
    for received in server.received() {
        let message = verifier.verify(&received.headers, &received.body).unwrap();
        let number = message.json::<serde_json::Value>().unwrap()["number"].as_u64().unwrap();
        let of_key = order.entry(message.key().unwrap().to_owned()).or_default();
        if of_key.last() != Some(&number) {
            of_key.push(number);
        }
    }
    for numbers in order.values() {
        assert_eq!(numbers.len(), 10, "{numbers:?}");
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    assert_eq!(order.len(), 4);
}
