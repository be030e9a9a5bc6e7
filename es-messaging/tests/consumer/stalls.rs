//! What would bring a consumer to a standstill, if it were let.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use async_trait::async_trait;
use es_core::{BlobStore, DeadLetterQuery, DeadLetterStore, DeadReason, MemoryStore, StoreError};
use es_messaging::{ConsumerBuilder, ConsumerState, Invalid, Message, UnknownTypes, extension};
use tokio::time::Instant;

use crate::support::{ScriptedBroker, builder, effects, order, run, take_effect, until};

fn counting(store: &MemoryStore, broker: &ScriptedBroker) -> ConsumerBuilder<MemoryStore> {
    builder(store, broker).lanes(1).on("order", |_: serde_json::Value, message, unit| {
        Box::pin(async move {
            take_effect(message, unit);
            Ok(())
        })
    })
}

async fn dead(store: &MemoryStore) -> Vec<(String, DeadReason, String)> {
    let letters = store.dead_letters(&DeadLetterQuery::default(), None, 10).await.unwrap();
    letters.into_iter().map(|dead| (dead.letter.message_id, dead.letter.reason, dead.letter.error)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_validator_that_panics_fails_its_message_and_no_other() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    ["1", "2", "3"].iter().for_each(|id| broker.send(order(id, Some(id))));
    let strict = |message: &Message| -> Result<(), Invalid> {
        assert!(message.id() != "2", "no such schema");
        Ok(())
    };
    let running = run(counting(&store, &broker).validator(strict).max_attempts(2).build().unwrap());
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    let ids: Vec<String> = effects(&store).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["1", "3"]);
    let dead = dead(&store).await;
    assert_eq!((dead.len(), &*dead[0].0, dead[0].1), (1, "/shop#2", DeadReason::Failed));
    assert!(dead[0].2.contains("panicked: no such schema"), "{}", dead[0].2);
}

/// Never answers.
struct Silent;

#[async_trait]
impl BlobStore for Silent {
    async fn put_blob(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        std::future::pending().await
    }

    async fn blob(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        std::future::pending().await
    }

    async fn drop_blobs_before(&self, _: time::OffsetDateTime) -> Result<u64, StoreError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_blob_store_that_never_answers_holds_up_its_messages_and_no_others() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let claimed = order("1", Some("a")).to_builder().without_data().extension(extension::DATA_REF, "blob");
    broker.send(claimed.build().unwrap());
    broker.send(order("2", Some("b")));
    let consumer = counting(&store, &broker).blobs(Silent).handler_time_limit(Duration::from_secs(3));
    let running = run(consumer.build().unwrap());
    until("the other is settled", async || broker.left() == 1).await;
    let error = running.consumer.status().last_error.unwrap();
    assert!(error.contains("did not answer within 3s"), "{error}");
    assert_eq!(broker.acked(), ["2"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_confirms_what_is_done_is_told_of_and_does_not_stop_the_end() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.send(order("1", None));
    let running = run(counting(&store, &broker).build().unwrap());
    until("it is settled", async || broker.left() == 0).await;
    broker.shared.hangs.store(true, SeqCst);
    broker.send(order("2", None));
    until("it is handled", async || running.consumer.status().handled == 2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = running.consumer.status();
    assert!(status.last_error.unwrap().contains("did not confirm within"));
    assert_eq!(status.in_hand, 0, "others may come in its place");
    broker.send(order("3", None));
    until("it is handled", async || running.consumer.status().handled == 3).await;
    let stopping = Instant::now();
    running.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(40), "{:?}", stopping.elapsed());
}

#[tokio::test(start_paused = true)]
async fn while_a_subscription_does_not_come_about_the_status_says_who_is_waited_for() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.shared.hangs.store(true, SeqCst);
    let running = run(counting(&store, &broker).build().unwrap());
    until("it subscribes", async || broker.shared.subscribed.load(SeqCst) == 1).await;
    assert_eq!(running.consumer.status().state, ConsumerState::WaitingForBroker);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_with_the_longest_attributes_can_be_put_aside_and_blocks_nobody() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let long = "x".repeat(es_messaging::limits::MAX_ATTRIBUTE_BYTES);
    broker.send(order("1", None).to_builder().message_type(&*long).key(&*long).build().unwrap());
    broker.send(order("2", None));
    let running = run(counting(&store, &broker).unknown_types(UnknownTypes::Park).build().unwrap());
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    assert_eq!(effects(&store).await, [("2".to_owned(), 1)]);
    assert_eq!(dead(&store).await[0].1, DeadReason::UnknownType);
}
