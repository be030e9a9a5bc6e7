//! What becomes of an event.

use std::time::Duration;

use es_core::{
    Append, DomainEvent, EventStore, ExpectedVersion, MemoryStore, Metadata, NewEvent, Recorded, StreamId, Upcasters,
};
use es_messaging::{Relay, RelayConfigError, extension, map_into, map_with};
use es_testkit::bank::AccountEvent;
use serde::{Deserialize, Serialize};
use time::macros::datetime;

use crate::{
    publisher::Scripted,
    support::{append, builder, checkpoint, deposit, runner},
};

#[tokio::test(start_paused = true)]
async fn a_message_is_filled_in_from_the_events_envelope() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    let metadata = Metadata::new()
        .with_correlation("c-1")
        .with_causation("m-2")
        .with_trace_parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let happened = datetime!(2026-03-01 10:00 UTC);
    let event = NewEvent::of(&AccountEvent::Deposited { cents: 5 }).unwrap();
    let event = event.with_metadata(metadata).with_occurred_at(happened);
    let id = event.id().to_string();
    let stream = StreamId::new("account", "ann").unwrap();
    store.append(&Append::to(stream, ExpectedVersion::Any, vec![event]).build().unwrap()).await.unwrap();
    let relay = builder().expires_after(Duration::from_secs(3_600)).priority(4);
    runner(&store, &publisher, relay).0.catch_up().await.unwrap();
    let kept = publisher.kept();
    let (topic, message) = (&kept[0].topic, &kept[0].message);
    assert_eq!((topic.as_str(), message.message_type()), ("account.Deposited", "bank.money.moved"));
    assert_eq!((message.id(), message.source(), message.subject()), (&*id, "/bank", Some("account/ann")));
    assert_eq!((message.time(), message.key(), message.priority()), (Some(happened), Some("account/ann"), Some(4)));
    assert_eq!(message.expires_at(), Some(datetime!(2026-03-01 11:00 UTC)));
    let recorded_before = time::OffsetDateTime::now_utc() - message.recorded_at().unwrap();
    assert!((time::Duration::ZERO..time::Duration::minutes(5)).contains(&recorded_before), "{recorded_before}");
    let extensions = [extension::POSITION, extension::VERSION, extension::CORRELATION, extension::CAUSATION];
    assert_eq!(extensions.map(|name| message.extension(name).unwrap()), ["1", "1", "c-1", "m-2"]);
    assert!(message.extension(extension::TRACE_PARENT).unwrap().starts_with("00-4bf9"));
    assert_eq!(message.data(), br#"{"cents":5}"#);
}

#[tokio::test(start_paused = true)]
async fn an_event_becomes_no_message_or_several_and_private_ones_stay_private() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    append(&store, "ann", &[AccountEvent::Opened { owner: "Ann Private".into() }]).await;
    deposit(&store, "ann", 2_000_000).await;
    let last = append(&store, "ann", &[AccountEvent::Closed]).await;
    runner(&store, &publisher, builder()).0.catch_up().await.unwrap();
    let kept = publisher.kept();
    assert_eq!(
        kept.iter().map(|outgoing| outgoing.topic.as_str()).collect::<Vec<_>>(),
        ["account.Deposited", "alerts"]
    );
    assert_eq!(kept[1].message.id(), format!("{}.1", kept[0].message.id()));
    assert!(kept.iter().all(|outgoing| !String::from_utf8_lossy(outgoing.message.data()).contains("Private")));
    assert_eq!(checkpoint(&store, "bank_out").await, last);
}

#[derive(Serialize)]
enum BankMessage {
    MoneyCame { cents: i64 },
    Gone,
}

#[tokio::test(start_paused = true)]
async fn the_simple_mapper_takes_type_and_content_from_an_enum() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    append(&store, "ann", &[AccountEvent::Deposited { cents: 3 }, AccountEvent::Closed]).await;
    let mapper = map_into("bank.", |event: &Recorded<AccountEvent>| match &event.event {
        AccountEvent::Deposited { cents } => Some(BankMessage::MoneyCame { cents: *cents }),
        AccountEvent::Closed => Some(BankMessage::Gone),
        _ => None,
    });
    let relay = Relay::builder("simple", "/bank", mapper).topic("out.{messagetype}");
    runner(&store, &publisher, relay).0.catch_up().await.unwrap();
    let kept = publisher.kept();
    let told: Vec<_> = kept.iter().map(|o| (o.topic.as_str(), o.message.message_type(), o.message.data())).collect();
    let came: (_, _, &[u8]) = ("out.bank.MoneyCame", "bank.MoneyCame", br#"{"cents":3}"#);
    assert_eq!(told, [came, ("out.bank.Gone", "bank.Gone", b"{}")]);
}

#[derive(Serialize, Deserialize)]
enum Halves {
    Half { n: u32 },
}

impl DomainEvent for Halves {
    const CATEGORY: &'static str = "halves";
    fn upcasters() -> Upcasters<Self> {
        Upcasters::none().split("Whole", |n: u32| vec![Self::Half { n }, Self::Half { n: n + 1 }])
    }
}

#[derive(Serialize, Deserialize)]
enum Wholes {
    Whole(u32),
}

impl DomainEvent for Wholes {
    const CATEGORY: &'static str = "halves";
}

#[tokio::test(start_paused = true)]
async fn the_messages_of_a_split_event_have_ids_of_their_own_and_always_the_same() {
    let store = MemoryStore::new();
    let stream = StreamId::new("halves", "1").unwrap();
    let event = NewEvent::of(&Wholes::Whole(1)).unwrap();
    let id = event.id().to_string();
    store.append(&Append::to(stream, ExpectedVersion::Any, vec![event]).build().unwrap()).await.unwrap();
    for name in ["first", "second"] {
        let publisher = Scripted::confirming();
        let mapper = map_with(|event: &Recorded<Halves>, messages| {
            let Halves::Half { n } = event.event;
            for suffix in [None, Some("copy")] {
                let draft = messages.message("half").json(&n)?;
                messages.add(suffix.map_or(draft.clone(), |suffix| draft.id_suffix(suffix)))?;
            }
            Ok(())
        });
        runner(&store, &publisher, Relay::builder(name, "/halves", mapper)).0.catch_up().await.unwrap();
        let ids: Vec<String> = publisher.kept().iter().map(|outgoing| outgoing.message.id().to_owned()).collect();
        assert_eq!(ids, [id.clone(), format!("{id}.copy"), format!("{id}.1.0"), format!("{id}.1.copy")]);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_event_that_would_be_taken_for_one_are_an_error() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    deposit(&store, "ann", 1).await;
    let mapper = map_with(|_: &Recorded<AccountEvent>, messages| {
        let (first, second) = (messages.message("moved").json(&1)?, messages.message("moved").json(&2)?);
        // The second has that end already.
        messages.add(first.id_suffix("1"))?;
        messages.add(second)
    });
    let error = runner(&store, &publisher, Relay::builder("out", "/bank", mapper)).0.catch_up().await.unwrap_err();
    assert!(format!("{error:?}").contains("SameId"), "{error:?}");
    assert_eq!(publisher.kept(), []);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_mapped_is_named_and_those_before_it_are_published() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    deposit(&store, "ann", 1).await;
    let good = deposit(&store, "bob", 1).await;
    let bad = append(&store, "ann", &[AccountEvent::Withdrawn { cents: 13 }]).await;
    deposit(&store, "ann", 1).await;
    let (runner, _) = runner(&store, &publisher, builder());
    let error = runner.catch_up().await.unwrap_err();
    assert!(
        matches!(error, es_projections::RunnerError::Consumer { event: Some(event), .. } if event == bad),
        "{error:?}"
    );
    assert_eq!(checkpoint(&store, "bank_out").await, good);
    assert_eq!(publisher.kept().len(), 2);
    assert!(publisher.again().is_empty());
}

#[tokio::test]
async fn a_relay_that_cannot_work_says_why_when_it_is_built() {
    let build = |name: &str, source: &str, topic: &str| {
        let publisher: std::sync::Arc<dyn es_messaging::Publisher> = Scripted::confirming();
        let relay = Relay::builder(name, source, crate::support::BankContract).topic(topic);
        relay.build(publisher, std::sync::Arc::new(MemoryStore::new())).map(drop)
    };
    assert!(build("out", "/bank", "{category}.{type}").is_ok());
    assert!(matches!(build("Out!", "/bank", "a"), Err(RelayConfigError::Name(_))));
    assert!(matches!(build("out", "my bank", "a"), Err(RelayConfigError::Source { .. })));
    let error = build("out", "/bank", "{categry}").unwrap_err();
    assert!(error.to_string().contains("{categry} is no word of it"), "{error}");
}
