//! The metrics of consumers, as a recorder of the application gets them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use es_core::{DeadLetterQuery, MemoryStore, OperatorRequest};
use es_messaging::{DeadLetters, ExpiredMessages, Message, consumer_metrics};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::{
    recorder::Told,
    support::{ScriptedBroker, builder},
};

#[tokio::test(start_paused = true)]
async fn everything_that_happens_to_a_consumer_is_told() {
    let told = Told::default();
    let _recording = ::metrics::set_default_local_recorder(&told);
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let send = |id: &str, of: &str, content: u64| {
        let long_ago = OffsetDateTime::now_utc() - Duration::from_secs(3_600);
        let message = Message::builder(of, "/shop").id(id).time(long_ago).json(&content).unwrap();
        let message = if id == "late" { message.expires_at(long_ago) } else { message };
        broker.send(message.build().unwrap());
    };
    // Content is how often its handler fails.
    for (id, of, content) in [
        ("1", "order", 0),
        ("1", "order", 0),
        ("other", "payment", 0),
        ("late", "order", 0),
        ("twice", "order", 1),
        ("dead", "order", 99),
    ] {
        send(id, of, content);
    }
    let (is_mended, has_failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mended = is_mended.clone();
    let consumer = builder(&store, &broker)
        .on("order", move |failures: u64, _, _| {
            let fails = match failures {
                0 => false,
                1 => !has_failed.swap(true, SeqCst),
                _ => !is_mended.load(SeqCst),
            };
            Box::pin(async move { if fails { Err(std::io::Error::other("no").into()) } else { Ok(()) } })
        })
        .ignore("payment")
        .expired_messages(ExpiredMessages::Drop)
        .max_attempts(3)
        .build()
        .unwrap();
    let count = |outcome: &str| told.value(&format!("{} shipping {outcome}", consumer_metrics::MESSAGES));
    let state = |state: &str| told.value(&format!("{} shipping {state}", consumer_metrics::STATE));
    let done = async {
        sleep(Duration::from_secs(20)).await;
        assert_eq!((state("running"), state("waiting_for_store")), (1.0, 0.0));
        mended.store(true, SeqCst);
        let ann = OperatorRequest::by("ann").unwrap();
        DeadLetters::new(store.clone()).retry_all(&DeadLetterQuery::default(), &ann).await.unwrap();
        sleep(Duration::from_secs(20)).await;
    };
    consumer.run(done).await.unwrap();
    for (outcome, messages) in
        [("handled", 2.0), ("duplicate", 1.0), ("skipped", 1.0), ("expired", 1.0), ("retried", 3.0), ("revived", 1.0)]
    {
        assert_eq!(count(outcome), messages, "{outcome}");
    }
    assert_eq!(told.value(&format!("{} shipping failed", consumer_metrics::DEAD)), 1.0);
    assert_eq!(told.value(&format!("{} shipping", consumer_metrics::IN_HAND)), 0.0);
    let lag = told.value(&format!("{} shipping", consumer_metrics::LAG));
    assert!((3_600.0..3_700.0).contains(&lag), "{lag}");
    assert_eq!((state("stopped"), state("running")), (1.0, 0.0));
}
