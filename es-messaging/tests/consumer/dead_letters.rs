//! What people do with dead letters, and what the consumer does then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use es_core::{
    ConsumerName, ControlStore, DeadLetterQuery, DeadReason, MemoryStore, OperatorRequest, RawMessage, SuspensionKind,
};
use es_messaging::{ConsumerBuilder, ConsumerState, DeadLetters, Message};

use crate::support::{Running, ScriptedBroker, builder, effects, order, run, take_effect, until};

/// A consumer that fails as long as `is_broken`, and on content that has no `id`.
fn mendable(
    store: &MemoryStore,
    broker: &ScriptedBroker,
    is_broken: &Arc<AtomicBool>,
    calls: &Arc<AtomicU32>,
) -> ConsumerBuilder<MemoryStore> {
    let (is_broken, calls) = (is_broken.clone(), calls.clone());
    builder(store, broker).max_attempts(1).on("order", move |content: serde_json::Value, message, unit| {
        let (is_broken, calls) = (is_broken.clone(), calls.clone());
        Box::pin(async move {
            calls.fetch_add(1, SeqCst);
            take_effect(message, unit);
            if is_broken.load(SeqCst) || content.get("id").is_none() {
                return Err(std::io::Error::other("broken").into());
            }
            Ok(())
        })
    })
}

struct Case {
    store: MemoryStore,
    broker: ScriptedBroker,
    is_broken: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    letters: DeadLetters<MemoryStore>,
    running: Running,
}

/// A consumer that has put these aside.
async fn with_dead(ids: &[&str]) -> Case {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let (is_broken, calls) = (Arc::new(AtomicBool::new(true)), Arc::default());
    ids.iter().for_each(|id| broker.send(order(id, Some(id))));
    let running = run(mendable(&store, &broker, &is_broken, &calls).build().unwrap());
    until("all are put aside", async || broker.left() == 0).await;
    let letters = DeadLetters::new(store.clone());
    Case { store, broker, is_broken, calls, letters, running }
}

impl Case {
    async fn depth(&self) -> u64 {
        self.letters.totals().await.unwrap().iter().map(|totals| totals.depth).sum()
    }
}

fn ann() -> OperatorRequest {
    OperatorRequest::by("ann").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_tried_again_takes_effect_once_and_is_gone() {
    let case = with_dead(&["1", "2"]).await;
    case.is_broken.store(false, SeqCst);
    let dead = case.letters.list(&DeadLetterQuery::default(), None, 10).await.unwrap();
    assert!(case.letters.retry(dead[0].id, &ann()).await.unwrap());
    until("it is gone", async || case.depth().await == 1).await;
    // Also if it comes again from the broker.
    case.broker.send(order("1", Some("1")));
    until("it is settled", async || case.broker.left() == 0).await;
    assert_eq!(effects(&case.store).await, [("1".to_owned(), 1)]);
    assert!(!case.letters.retry(dead[0].id, &ann()).await.unwrap(), "it is gone");
    assert_eq!(case.letters.retry_all(&DeadLetterQuery::default(), &ann()).await.unwrap(), 1);
    until("both are gone", async || case.depth().await == 0).await;
    let status = case.running.consumer.status();
    assert_eq!((status.revived, status.dead, status.duplicates), (2, 2, 1), "{status}");
    case.running.stop().await;
    let done: Vec<_> = case.store.operations(None, None, 10).await.unwrap();
    assert_eq!(done.iter().filter(|it| it.what.kind == es_core::OperationKind::DEAD_LETTER_RETRY).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_again_stays_with_its_new_error_and_is_not_tried_by_itself() {
    let case = with_dead(&["1"]).await;
    let before = case.letters.list(&DeadLetterQuery::default(), None, 10).await.unwrap().remove(0);
    case.letters.retry(before.id, &ann()).await.unwrap();
    until("it was tried", async || case.calls.load(SeqCst) == 2).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(case.calls.load(SeqCst), 2);
    let after = case.letters.show(before.id).await.unwrap().unwrap();
    assert_eq!((after.dead.letter.attempts, after.dead.is_retry_requested), (2, false));
    assert_eq!((case.depth().await, after.message.unwrap().id()), (1, "1"));
    assert!(effects(&case.store).await.is_empty());
    case.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_edited_message_takes_effect_instead_and_what_it_was_is_kept() {
    let case = with_dead(&[]).await;
    case.is_broken.store(false, SeqCst);
    let wrong = order("1", None).to_builder().json(&serde_json::json!({ "di": 1 })).unwrap().build().unwrap();
    case.broker.send(wrong);
    until("it is put aside", async || case.depth().await == 1).await;
    let dead = case.letters.list(&DeadLetterQuery::default(), None, 1).await.unwrap().remove(0);
    let shown = case.letters.show(dead.id).await.unwrap().unwrap().message.unwrap();
    let mended = shown.to_builder().json(&serde_json::json!({ "id": 1 })).unwrap().build().unwrap();
    assert!(case.letters.edit_and_retry(dead.id, &mended, &ann()).await.is_err(), "it needs a reason");
    let request = ann().because("a wrong name").unwrap();
    assert!(case.letters.edit_and_retry(dead.id, &mended, &request).await.unwrap());
    until("it is gone", async || case.depth().await == 0).await;
    assert_eq!(effects(&case.store).await, [("1".to_owned(), 1)]);
    case.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn bytes_that_were_no_message_can_be_mended() {
    let case = with_dead(&[]).await;
    case.is_broken.store(false, SeqCst);
    case.broker.send_garbage(b"{\"id\":\"7\"}");
    until("it is put aside", async || case.depth().await == 1).await;
    let dead = case.letters.list(&DeadLetterQuery::default(), None, 1).await.unwrap().remove(0);
    case.letters.retry(dead.id, &ann()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let again = case.letters.show(dead.id).await.unwrap().unwrap();
    assert_eq!((again.dead.letter.reason, again.dead.letter.attempts), (DeadReason::Undecodable, 2));
    assert!(again.message.is_err());
    let raw = &again.dead.letter.message;
    let mended = Message::builder("order", "/shop").id("7").data("application/json", raw.body.clone()).build().unwrap();
    case.letters.edit_and_retry(dead.id, &mended, &ann().because("an old sender").unwrap()).await.unwrap();
    until("it is gone", async || case.depth().await == 0).await;
    assert_eq!(effects(&case.store).await, [("7".to_owned(), 1)]);
    case.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn messages_without_an_id_are_a_dead_letter_each_and_one_that_comes_again_is_none() {
    let case = with_dead(&[]).await;
    let without_id = |subject: &str| {
        let mut raw = RawMessage::new("application/json", "{}");
        raw.headers.insert("ce-subject".to_owned(), subject.to_owned());
        raw
    };
    let large = |byte| RawMessage::new("text/plain", vec![byte; es_core::limits::MAX_RAW_MESSAGE_BYTES]);
    let sent = [without_id("order/17"), without_id("order/18"), large(b'x'), large(b'y')];
    sent.iter().cycle().take(8).for_each(|raw| case.broker.send_undecodable(raw.clone()));
    until("they are put aside", async || case.broker.left() == 0).await;
    let letters = case.letters.list(&DeadLetterQuery::default(), None, 10).await.unwrap();
    let mut subjects: Vec<_> = letters.iter().map(|dead| dead.letter.message.header("ce-subject")).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, [None, None, Some("order/17"), Some("order/18")]);
    case.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_discarded_is_gone_with_a_reason_in_the_log_of_operations() {
    let case = with_dead(&["1", "2", "3"]).await;
    let dead = case.letters.list(&DeadLetterQuery::default(), None, 10).await.unwrap();
    assert!(case.letters.discard(dead[0].id, &ann()).await.is_err(), "it needs a reason");
    let request = ann().because("a test order").unwrap();
    assert!(case.letters.discard(dead[0].id, &request).await.unwrap());
    assert_eq!(case.letters.discard_all(&DeadLetterQuery::default(), &request).await.unwrap(), 2);
    assert_eq!(case.depth().await, 0);
    // It had come to its end: from the broker it is a duplicate.
    case.broker.send(order("1", None));
    until("it is settled", async || case.broker.left() == 0).await;
    assert!(effects(&case.store).await.is_empty());
    case.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_requested_retry_waits_while_the_consumer_is_suspended() {
    let case = with_dead(&["1"]).await;
    case.is_broken.store(false, SeqCst);
    let name = ConsumerName::new("shipping").unwrap();
    case.store.suspend(&name, SuspensionKind::Paused, &ann().because("the warehouse moves").unwrap()).await.unwrap();
    until("it is suspended", async || matches!(case.running.consumer.status().state, ConsumerState::Suspended(_)))
        .await;
    case.letters.retry_all(&DeadLetterQuery::default(), &ann()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((case.calls.load(SeqCst), case.depth().await), (1, 1));
    case.store.resume(&name, SuspensionKind::Paused, &ann()).await.unwrap();
    until("it is gone", async || case.depth().await == 0).await;
    assert_eq!(effects(&case.store).await, [("1".to_owned(), 1)]);
    case.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_came_too_late_takes_effect_if_somebody_wants_it() {
    let case = with_dead(&[]).await;
    case.is_broken.store(false, SeqCst);
    let late = order("1", None).to_builder().extension(es_messaging::extension::EXPIRY, "2020-01-01T00:00:00Z");
    case.broker.send(late.build().unwrap());
    until("it is put aside", async || case.depth().await == 1).await;
    let dead = case.letters.list(&DeadLetterQuery::default(), None, 1).await.unwrap().remove(0);
    assert_eq!(dead.letter.reason, DeadReason::Expired);
    case.letters.retry(dead.id, &ann()).await.unwrap();
    until("it is gone", async || case.depth().await == 0).await;
    assert_eq!(effects(&case.store).await, [("1".to_owned(), 1)]);
    case.running.stop().await;
}
