//! Documents of views: when they count as changed, what cannot be one, and whose key they have.

use std::collections::{HashMap, HashSet};

use es_core::{
    DocumentAction, DocumentFold, DomainEvent, EncodeError, EventType, NewEvent, Payload, Position, ProjectionError,
    Recorded, RecordedEvent, StreamId, Version, View, ViewFold,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

#[derive(Serialize, Deserialize)]
enum OrderEvent {
    Moved { from: String, to: String },
}

impl DomainEvent for OrderEvent {
    const CATEGORY: &'static str = "order";
}

fn moved(position: u64, from: &str, to: &str) -> RecordedEvent {
    let event = NewEvent::of(&OrderEvent::Moved { from: from.to_owned(), to: to.to_owned() }).unwrap();
    let stream = StreamId::new("order", "1").unwrap();
    event.recorded(stream, Version::new(position), Position::new(position), OffsetDateTime::UNIX_EPOCH)
}

/// Folds events into the documents that there are, and returns those that changed.
fn fold<V: View>(
    documents: &[(&str, &str)],
    events: Vec<RecordedEvent>,
) -> Result<Vec<(String, String)>, ProjectionError> {
    let documents = documents
        .iter()
        .map(|(key, body)| es_core::Document { key: (*key).to_owned(), body: Payload::from_json(*body).unwrap() });
    let changes = ViewFold::<V>::new().unwrap().open_page(events)?.fold(documents.collect())?;
    Ok(changes.into_iter().map(|change| (change.key, change.body.unwrap().as_str().to_owned())).collect())
}

#[derive(Default, Serialize, Deserialize)]
struct PerStatus {
    orders: u64,
}

impl View for PerStatus {
    const NAME: &'static str = "per_status";
    type Event = OrderEvent;

    fn keys(event: &Recorded<OrderEvent>) -> Vec<String> {
        let OrderEvent::Moved { from, to } = &event.event;
        vec![from.clone(), to.clone()]
    }

    fn apply_to(&mut self, key: &str, event: &Recorded<OrderEvent>) -> DocumentAction {
        let OrderEvent::Moved { from, to } = &event.event;
        self.orders += u64::from(key == to);
        self.orders -= u64::from(key == from);
        DocumentAction::Keep
    }
}

#[test]
fn a_view_treats_the_documents_of_one_event_by_their_keys() {
    let changes =
        fold::<PerStatus>(&[("open", r#"{"orders":3}"#)], vec![moved(1, "open", "paid"), moved(2, "open", "paid")]);
    let expected =
        [("open".to_owned(), r#"{"orders":1}"#.to_owned()), ("paid".to_owned(), r#"{"orders":2}"#.to_owned())];
    assert_eq!(changes.unwrap(), expected);
}

#[derive(Default, Serialize, Deserialize)]
struct Names {
    by_name: HashMap<String, u64>,
    set: HashSet<String>,
    last: String,
}

impl View for Names {
    const NAME: &'static str = "names";
    type Event = OrderEvent;

    fn keys(_: &Recorded<OrderEvent>) -> Vec<String> {
        vec!["all".to_owned()]
    }

    fn apply(&mut self, event: &Recorded<OrderEvent>) -> DocumentAction {
        let OrderEvent::Moved { from, to } = &event.event;
        self.last.clone_from(from);
        self.by_name.insert(to.clone(), 1);
        self.set.extend([to.clone()].into_iter().filter(|to| to.starts_with('+')));
        DocumentAction::Keep
    }
}

#[test]
fn a_document_with_a_hash_map_changes_only_if_its_value_does() {
    let names: Vec<String> = (10..40).map(|n| format!(r#""n{n}":1"#)).collect();
    let mut reversed = names.clone();
    reversed.reverse();
    for names in [names, reversed] {
        let before = format!(r#"{{"by_name":{{{}}},"set":[],"last":"x"}}"#, names.join(","));
        let same = fold::<Names>(&[("all", &before)], vec![moved(1, "x", "n20")]).unwrap();
        assert!(same.is_empty(), "nothing changed, and the document was written again: {same:?}");
        // As long, and of the same bytes in another order.
        let before = before.replace(r#""last":"x""#, r#""last":"xy""#);
        let changes = fold::<Names>(&[("all", &before)], vec![moved(1, "yx", "n20")]).unwrap();
        assert!(changes[0].1.contains(r#""last":"yx""#));
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Unreadable {
    #[serde(skip_serializing_if = "Option::is_some")]
    last: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
}

impl View for Unreadable {
    const NAME: &'static str = "unreadable";
    type Event = OrderEvent;

    fn keys(_: &Recorded<OrderEvent>) -> Vec<String> {
        vec!["all".to_owned()]
    }

    fn apply(&mut self, event: &Recorded<OrderEvent>) -> DocumentAction {
        let OrderEvent::Moved { to, .. } = &event.event;
        self.name.clone_from(to);
        DocumentAction::Keep
    }
}

#[test]
fn a_document_that_could_not_be_read_again_is_not_written() {
    let readable = fold::<Unreadable>(&[], vec![moved(1, "a", "b")]).unwrap();
    assert_eq!(readable[0].1, r#"{"last":null,"name":"b"}"#);
    let error = fold::<Unreadable>(&[], vec![moved(1, "a", "")]).unwrap_err();
    let ProjectionError::Document { source: EncodeError::NotReadable { problem, .. }, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(problem.contains("missing field `name`") && problem.contains("default"), "{problem}");
}

#[test]
fn neither_an_event_nor_a_document_shows_its_content_in_an_error() {
    let fold_of = |payload: &str, document: &str| {
        let event = NewEvent::new(EventType::new("Moved").unwrap(), Payload::from_json(payload).unwrap());
        let stream = StreamId::new("order", "1").unwrap();
        let event = event.recorded(stream, Version::new(1), Position::new(1), OffsetDateTime::UNIX_EPOCH);
        fold::<Names>(&[("all", document)], vec![event]).unwrap_err()
    };
    let good = r#"{"from":"a","to":"b"}"#;
    for error in [
        fold_of(r#"{"from":{"secret":"secret"},"to":"b"}"#, "{}"),
        fold_of(r#""secret""#, "{}"),
        fold_of(good, r#"{"by_name":{"a":"secret"},"set":[],"last":""}"#),
        fold_of(good, r#"["secret"]"#),
    ] {
        let mut text = format!("{error:?}");
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = source {
            text.push_str(&error.to_string());
            source = error.source();
        }
        assert!(!text.contains("secret") && text.contains("expected"), "{text}");
    }
}
