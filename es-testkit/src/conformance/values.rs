//! Values at the edges of what can be stored: every store keeps them as they are.

use std::num::NonZeroU64;

use es_core::{
    Aggregate, Append, AppendBuilder, ConsumerStore, ConsumerStoreExt, DocumentAction, DocumentFold, DomainEvent,
    EventStore, Metadata, NewEvent, Payload, Recorded, Repository, Snapshot, SnapshotStore, StoreError, Version, View,
    ViewFold, limits,
};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset, macros::datetime};
use uuid::Uuid;

use super::{
    checkpoints::consumer,
    documents::{get, save_first},
    support::*,
};
use crate::{harness::StoreHarness, rng::SeededRng};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum MeterEvent {
    Read { kwh: f64, share: f32 },
}

impl DomainEvent for MeterEvent {
    const CATEGORY: &'static str = "meter";
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Meter {
    sum: f64,
    reads: Vec<(f64, f32)>,
}

impl Meter {
    fn take(&mut self, MeterEvent::Read { kwh, share }: &MeterEvent) {
        self.sum += kwh;
        self.reads.push((*kwh, *share));
    }
}

impl Aggregate for Meter {
    type Event = MeterEvent;
    type Command = MeterEvent;
    type Error = std::convert::Infallible;

    fn handle(&self, event: &MeterEvent) -> Result<Vec<MeterEvent>, Self::Error> {
        Ok(vec![event.clone()])
    }

    fn apply(&mut self, event: &MeterEvent) {
        self.take(event);
    }
}

impl View for Meter {
    const NAME: &'static str = "meters";
    type Event = MeterEvent;

    fn keys(event: &Recorded<MeterEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<MeterEvent>) -> DocumentAction {
        self.take(&event.event);
        DocumentAction::Keep
    }
}

/// Floats of every size, with all their bits.
fn floats() -> Vec<(f64, f32)> {
    let known = [117.63331139400017, 0.1 + 0.2, f64::MAX, -5e-324, -0.0, 1e21, 123_456_789_012_345_680.0];
    let rng = SeededRng::from_env();
    let next = || f64::from_bits(rng.next());
    let drawn = std::iter::from_fn(|| Some(next())).filter(|float| float.is_finite()).take(100);
    let known = known.into_iter().map(|float| (float, 7.038531e-26_f32));
    known.chain(drawn.map(|float| (float, float as f32))).filter(|(_, single)| single.is_finite()).collect()
}

/// A float is read as it was written, to the last bit: in events, metadata, snapshots and documents. So the same append
/// can be sent again.
pub async fn floats_come_back_to_the_last_bit<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let warm = Repository::<Meter>::new(&store).with_snapshots(&store, NonZeroU64::MIN);
    let (stream, floats) = (ok(warm.stream_id("one")), floats());
    for chunk in floats.chunks(30) {
        let events: Vec<_> = chunk.iter().map(|&(kwh, share)| MeterEvent::Read { kwh, share }).collect();
        ok(warm.execute_with("one", move |_| std::future::ready(Ok(events.clone()))).await);
    }
    let bits = |meter: &Meter| -> Vec<(u64, u32)> {
        meter.reads.iter().map(|(kwh, share)| (kwh.to_bits(), share.to_bits())).collect()
    };
    let written: Vec<_> = floats.iter().map(|(kwh, share)| (kwh.to_bits(), share.to_bits())).collect();
    let other = harness.reopened(&store).await;
    for repository in
        [Repository::<Meter>::new(&other), Repository::new(&other).with_snapshots(&other, NonZeroU64::MIN)]
    {
        let loaded = ok(repository.load("one").await);
        assert_eq!(bits(&loaded.state), written);
        assert_eq!(loaded.state.sum.to_bits(), ok(warm.load("one").await).state.sum.to_bits());
    }
    let fold = ok(ViewFold::<Meter>::new());
    ok(patiently!(store.prepare_view(fold.name())));
    let events = ok(store.read_stream(&stream, Version::ZERO, page_of(1_000)).await).events;
    let changes = ok(ok(fold.open_page(events)).fold(Vec::new()));
    ok(save_first(&store, fold.name(), &changes).await);
    assert_eq!(bits(&some(ok(other.view::<Meter>().get("one").await), "the document")), written);
    let event = |&(kwh, share): &(f64, f32)| {
        let metadata = Metadata::new().with_extra("kwh", kwh).with_extra("share", share);
        ok(NewEvent::of(&MeterEvent::Read { kwh, share })).with_metadata(metadata)
    };
    let append = append_to(&stream_in("meter", "two"), NoStream, floats.iter().map(event).collect());
    let first = ok(send(&store, &append).await);
    let again = ok(send(&other, &append).await);
    assert!(again.repeated && again.last_position == first.last_position, "{again:?}");
}

/// JSON at the edges, as programs of any language may write it.
fn odd_json() -> Vec<String> {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let mut texts: Vec<String> = [
        "null",
        "-0.0",
        "1E+2",
        "18446744073709551616",
        "340282366920938463463374607431768211455",
        "1.7976931348623157e308",
        "5e-324",
        r#""""#,
        r#"{"":{"":""}}"#,
        r#"{"\"\\\u00e9\ud83d\ude00":"\b\f\n\r\t\u001f\u007f\/"}"#,
        r#"{ "b" : 1 , "a" : [ ] }"#,
        "\"\u{feff}\u{2028}\u{ffff}🦀\"",
    ]
    .map(str::to_owned)
    .into();
    texts.extend([nested(limits::MAX_JSON_DEPTH), format!("\"{}\"", "é".repeat(10_000))]);
    texts
}

/// What can be a payload comes back byte for byte: as an event, a snapshot and a document.
pub async fn json_at_the_edges_is_kept_byte_for_byte<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let texts = odd_json();
    let events: Vec<_> = texts.iter().map(|json| event("Odd", json)).collect();
    let append = append_to(&stream("odd"), NoStream, events);
    ok(send(&store, &append).await);
    assert!(ok(send(&harness.reopened(&store).await, &append).await).repeated);
    let read = ok(store.read_stream(&stream("odd"), Version::ZERO, page_of(100)).await).events;
    let kept: Vec<_> = read.iter().map(|event| event.payload().as_str().to_owned()).collect();
    assert_eq!(kept, texts);
    let view = consumer("odd");
    ok(patiently!(store.prepare_view(&view)));
    let keys: Vec<String> = (10..).take(texts.len()).map(|number: u32| number.to_string()).collect();
    let changes = keys.iter().zip(&texts).map(|(key, json)| es_core::DocumentChange {
        key: key.clone(),
        body: Some(ok(Payload::from_json(json.as_str()))),
    });
    ok(save_first(&store, &view, &changes.collect::<Vec<_>>()).await);
    for (key, json) in keys.iter().zip(&texts) {
        assert_eq!(get(&store, &view, key).await.as_deref(), Some(json.as_str()));
        let state = ok(Payload::from_json(json.as_str()));
        let snapshot = Snapshot::new(stream(key), AGGREGATE, Version::new(1), Uuid::now_v7(), "1".to_owned(), state);
        ok(patiently!(store.save_snapshot(&snapshot)));
        assert_eq!(ok(store.load_snapshot(&stream(key), AGGREGATE).await), Some(snapshot));
    }
}

/// Metadata come back as they were written, also when they are nested as deep as allowed.
pub async fn metadata_at_the_edges_come_back<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let nested = |levels: usize| (0..levels).fold(serde_json::json!(u64::MAX), |inner, _| serde_json::json!([inner]));
    let metadata = Metadata::new()
        .with_actor("é 🦀 '\"\\")
        .with_schema_version(u32::MAX)
        .with_extra("deep", nested(limits::MAX_JSON_DEPTH))
        .with_extra("minus", i64::MIN)
        .with_extra("\"odd\\ key", serde_json::json!({"": [null, -0.0, 1e308], "\u{7f}": "\u{1}"}));
    let append = append_to(&stream("ann"), NoStream, vec![opened("Ann").with_metadata(metadata.clone())]);
    ok(send(&store, &append).await);
    let read = ok(store.read_stream(&stream("ann"), Version::ZERO, page_of(10)).await).events;
    assert_eq!(read[0].metadata(), &metadata);
    assert!(ok(send(&harness.reopened(&store).await, &append).await).repeated);
    let too_deep = Metadata::new().with_extra("deep", nested(limits::MAX_JSON_DEPTH + 1));
    let refused = occurring(opened("Ann").with_metadata(too_deep)).build();
    assert_limit(refused, limits::MAX_JSON_DEPTH, limits::MAX_JSON_DEPTH + 1);
}

fn occurring(event: NewEvent) -> AppendBuilder {
    Append::to(stream("time"), Any, vec![event])
}

/// Times from the first year to the last come back; others are refused before a store is asked.
pub async fn times_of_every_year_come_back_or_are_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let offset = ok(UtcOffset::from_hms(-5, 0, 0));
    let times = [
        datetime!(-4712-01-01 00:00 UTC),
        datetime!(0000-02-29 12:00 UTC),
        datetime!(1582-10-10 00:00 UTC),
        OffsetDateTime::UNIX_EPOCH - time::Duration::microseconds(1),
        datetime!(9999-12-31 23:59:59.999_999 UTC),
        datetime!(2024-01-01 00:00 UTC).to_offset(offset),
    ];
    let append =
        ok(Append::to(stream("time"), Any, times.iter().map(|time| opened("x").with_occurred_at(*time)).collect())
            .build());
    ok(send(&store, &append).await);
    let read = ok(store.read_stream(&stream("time"), Version::ZERO, page_of(100)).await).events;
    assert_eq!(read.iter().map(|event| event.occurred_at()).collect::<Vec<_>>(), times);
    assert!(ok(send(&harness.reopened(&store).await, &append).await).repeated);
    for time in [
        datetime!(-4713-12-31 23:59 UTC),
        datetime!(-9999-01-01 00:00 UTC),
        // The year 10000 by UTC.
        datetime!(9999-12-31 23:00 -5),
    ] {
        let refused = occurring(opened("x").with_occurred_at(time)).build();
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{time}: {refused:?}");
    }
}
