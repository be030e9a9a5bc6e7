//! What the broker refuses for good.

use std::{sync::Arc, time::Duration};

use es_core::{DeadLetter, DeadLetterQuery, DeadLetterStore, DeadReason, MemoryStore, Position};
use es_messaging::{Broker, MemoryBroker, Message, Publisher, Relay, Subscription, Topology};
use es_projections::Runner;
use tokio::time::sleep;

use crate::{
    publisher::{Behaviour, Scripted},
    support::{arrival, builder, deposit, deposits, request, runner},
};

pub(crate) async fn letters(store: &MemoryStore) -> Vec<DeadLetter> {
    store.dead_letters(&DeadLetterQuery::default(), None, 1_000).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_refuses_is_put_aside_and_the_rest_goes_on() {
    let store = MemoryStore::new();
    deposits(&store, 10).await;
    deposit(&store, "a1", 666).await;
    deposits(&store, 10).await;
    let publisher = Scripted::new(Behaviour { refuses: Some("666"), ..Behaviour::default() });
    let (runner, monitor) = runner(&store, &publisher, builder());
    runner.catch_up().await.unwrap();
    assert_eq!((publisher.kept().len(), monitor.status().refused), (20, 1));
    let letters = letters(&store).await;
    let letter = &letters[0].letter;
    assert_eq!((letters.len(), letter.reason, letter.topic.as_str()), (1, DeadReason::Refused, "account.Deposited"));
    assert_eq!((letter.key.as_deref(), letter.message_type.as_deref()), (Some("account/a1"), Some("bank.money.moved")));
    assert!(letter.error.contains("it does not like it"), "{}", letter.error);
    let message = Message::from_raw(&letter.message).unwrap();
    assert_eq!((message.id(), message.data()), (letter.message_id.as_str(), &br#"{"cents":666}"#[..]));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_published_again_on_request_and_is_gone_then() {
    let store = MemoryStore::new();
    for _ in 0..120 {
        deposit(&store, "ann", 666).await;
    }
    let publisher = Scripted::new(Behaviour { refuses: Some("666"), ..Behaviour::default() });
    let (runner, monitor) = runner(&store, &publisher, builder());
    let done = async {
        arrival(&store, Position::new(120)).await;
        assert_eq!(letters(&store).await.len(), 120);
        publisher.set(|behaviour| behaviour.refuses = None);
        store.request_dead_letter_retries(&DeadLetterQuery::default(), &request()).await.unwrap();
        sleep(Duration::from_secs(6)).await;
        // On the way of the next event.
        let last = deposit(&store, "ann", 1).await;
        arrival(&store, last).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!(letters(&store).await, []);
    assert_eq!((publisher.kept().len(), monitor.status().published), (121, 121));
    let versions = publisher.kept().into_iter().map(|o| o.message.extension("streamversion").unwrap().parse().unwrap());
    assert_eq!(versions.collect::<Vec<u32>>(), (1..=121).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_refused_again_stays_with_the_new_error_and_an_edited_one_goes() {
    let store = MemoryStore::new();
    deposit(&store, "ann", 666).await;
    let publisher = Scripted::new(Behaviour { refuses: Some("666"), ..Behaviour::default() });
    let relay = builder().build(publisher.clone() as Arc<dyn Publisher>, Arc::new(store.clone())).unwrap();
    let retries = relay.retries();
    let runner = Runner::builder(&store).reactor_with(relay, Relay::options()).build().unwrap();
    runner.catch_up().await.unwrap();
    let all = DeadLetterQuery::default();
    store.request_dead_letter_retries(&all, &request()).await.unwrap();
    // Nobody needs an event for it.
    let retrying = {
        let retries = retries.clone();
        tokio::spawn(async move { retries.run(sleep(Duration::from_secs(30))).await })
    };
    sleep(Duration::from_secs(20)).await;
    let kept = letters(&store).await;
    assert_eq!((kept.len(), kept[0].is_retry_requested, kept[0].letter.attempts), (1, false, 2));
    let message = Message::from_raw(&kept[0].letter.message).unwrap();
    let edited = message.to_builder().data("application/json", "{\"cents\":667}").build().unwrap();
    store.edit_dead_letter(kept[0].id, &edited.to_raw(), &request()).await.unwrap();
    retrying.await.unwrap();
    assert_eq!(letters(&store).await, []);
    let published = publisher.kept();
    assert_eq!((published.len(), published[0].message.data()), (1, &b"{\"cents\":667}"[..]));
    assert_eq!((published[0].message.id(), published[0].topic.as_str()), (message.id(), "account.Deposited"));
    // What is no message is not published, whoever edits it.
    deposit(&store, "ann", 666).await;
    runner.catch_up().await.unwrap();
    let id = letters(&store).await[0].id;
    let nonsense = es_core::RawMessage::new("text/plain", "hello");
    store.edit_dead_letter(id, &nonsense, &request()).await.unwrap();
    assert_eq!(retries.retry_requested().await.unwrap().refused, 1);
    assert_eq!(letters(&store).await[0].letter.reason, DeadReason::Undecodable);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_for_a_broker_that_is_away() {
    let store = MemoryStore::new();
    deposit(&store, "ann", 666).await;
    let publisher = Scripted::new(Behaviour { refuses: Some("666"), ..Behaviour::default() });
    let relay = builder().build(publisher.clone() as Arc<dyn Publisher>, Arc::new(store.clone())).unwrap();
    let retries = relay.retries();
    Runner::builder(&store).reactor_with(relay, Relay::options()).build().unwrap().catch_up().await.unwrap();
    store.request_dead_letter_retries(&DeadLetterQuery::default(), &request()).await.unwrap();
    publisher.set(|behaviour| *behaviour = Behaviour { is_down: true, ..Behaviour::default() });
    for _ in 0..10 {
        assert_eq!(retries.retry_requested().await.unwrap().waiting, 1);
    }
    assert!(letters(&store).await[0].is_retry_requested);
    assert!(publisher.calls() <= 2, "the breaker holds for retries too: {}", publisher.calls());
    publisher.set(|behaviour| behaviour.is_down = false);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(retries.retry_requested().await.unwrap().published, 1);
    assert_eq!(letters(&store).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_real_broker_gets_what_it_takes_and_what_nobody_wants_is_a_dead_letter() {
    let store = MemoryStore::new();
    deposits(&store, 50).await;
    deposit(&store, "a0", 5_000_000).await;
    deposits(&store, 50).await;
    let broker = MemoryBroker::new();
    let books = Subscription::new("books", ["account.*"]);
    broker.declare(&Topology::new(["account.Deposited"], vec![books.clone()])).await.unwrap();
    let relay = builder().build(broker.publisher().await.unwrap(), Arc::new(store.clone())).unwrap();
    let retries = relay.retries();
    let runner = Runner::builder(&store).reactor_with(relay, Relay::options()).build().unwrap();
    runner.catch_up().await.unwrap();
    let letters_now = letters(&store).await;
    assert_eq!(letters_now.len(), 1);
    assert_eq!(
        (letters_now[0].letter.topic.as_str(), letters_now[0].letter.reason),
        ("alerts", DeadReason::Unroutable)
    );
    let subscriber = broker.subscriber(&books).await.unwrap();
    let mut received = Vec::new();
    while received.len() < 101 {
        for delivery in subscriber.receive(200, Duration::from_secs(1)).await.unwrap() {
            let receipt = delivery.receipt;
            received.push(delivery.content.unwrap());
            subscriber.settle(vec![(receipt, es_messaging::Settlement::Ack)]).await.unwrap();
        }
    }
    let versions: Vec<u32> = received
        .iter()
        .filter(|m| m.key() == Some("account/a0"))
        .map(|m| m.extension("streamversion").unwrap().parse().unwrap())
        .collect();
    assert_eq!(versions, (1..=versions.len() as u32).collect::<Vec<_>>());
    // Once somebody wants them, they come.
    let alerts = Subscription::new("alerts", ["alerts"]);
    broker.declare(&Topology::new(["alerts"], vec![books, alerts])).await.unwrap();
    store.request_dead_letter_retries(&DeadLetterQuery::default(), &request()).await.unwrap();
    assert_eq!(retries.retry_requested().await.unwrap().published, 1);
    assert_eq!(letters(&store).await, []);
}
