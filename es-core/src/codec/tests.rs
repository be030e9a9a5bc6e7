//! The codec: the stored form of events, and what is refused.

use serde::{Deserialize, Serialize};

use super::{
    decode::{RawDecodeError, decode_event},
    encode::encode_event,
};
use crate::{
    Coverage, DecodeError, Decoder, DomainEvent, EncodeError, EventFilter, EventType, NewEvent, Payload, Position,
    RecordedEvent, StreamId, Upcasters, Version,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Address {
    street: String,
    number: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Opened {
        owner: String,
        limit: f64,
    },
    Moved(Address),
    Swapped(i64, String),
    #[serde(rename = "closed-for-good")]
    Closed,
}

impl DomainEvent for Event {
    const CATEGORY: &'static str = "account";
}

fn encoded<E: Serialize>(event: &E) -> (String, String) {
    let (event_type, encoded) = encode_event(event).unwrap();
    (event_type.as_str().to_owned(), encoded.payload.as_str().to_owned())
}

#[test]
fn the_type_is_the_variants_serde_name_and_the_payload_its_content() {
    let moved = Event::Moved(Address { street: "A\"b".into(), number: None });
    let as_stored = [
        (Event::Opened { owner: "Ann".into(), limit: 1.5 }, "Opened", r#"{"owner":"Ann","limit":1.5}"#),
        (moved, "Moved", r#"{"street":"A\"b","number":null}"#),
        (Event::Swapped(-1, "x".into()), "Swapped", r#"[-1,"x"]"#),
        (Event::Closed, "closed-for-good", "{}"),
    ];
    for (event, event_type, payload) in as_stored {
        assert_eq!(encoded(&event), (event_type.to_owned(), payload.to_owned()));
        assert_eq!(decode_event::<Event>(event_type, payload).unwrap(), event);
    }
}

#[test]
fn an_event_for_an_import_has_the_form_that_a_command_gives_it() {
    let event = Event::Opened { owner: "Ann".into(), limit: 1.5 };
    let new_event = NewEvent::of(&event).unwrap();
    assert_eq!((new_event.event_type().to_owned(), new_event.payload().as_str().to_owned()), encoded(&event));
    assert_ne!(new_event.id(), NewEvent::of(&event).unwrap().id());
    let lost = NewEvent::of(&Event::Opened { owner: "Ann".into(), limit: f64::NAN });
    assert!(matches!(lost, Err(EncodeError::NotFinite { .. })), "{lost:?}");
}

#[test]
fn a_float_that_json_cannot_hold_is_refused_however_deep_it_is() {
    #[derive(Serialize)]
    enum Deep {
        List(Vec<Option<f32>>),
        Map { rates: std::collections::BTreeMap<String, (u8, f64)> },
    }
    for event in
        [Deep::List(vec![None, Some(f32::INFINITY)]), Deep::Map { rates: [("eur".to_owned(), (1, f64::NAN))].into() }]
    {
        assert!(matches!(encode_event(&event), Err(EncodeError::NotFinite { .. })));
    }
    assert!(encode_event(&Deep::List(vec![Some(1.0)])).is_ok());
}

#[test]
fn a_nul_in_a_text_or_key_is_refused() {
    #[derive(Serialize)]
    enum Texts {
        Text(String),
        Key(std::collections::BTreeMap<String, u8>),
        Char { c: char },
    }
    for event in [Texts::Text("a\0b".into()), Texts::Key([("\0".to_owned(), 1)].into()), Texts::Char { c: '\0' }] {
        assert!(matches!(encode_event(&event), Err(EncodeError::NulCharacter { .. })));
    }
}

#[test]
fn what_is_not_an_externally_tagged_enum_is_refused() {
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Internal {
        A { x: u8 },
    }
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        A { x: u8 },
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "t", content = "c")]
    enum Adjacent {
        A(u8),
    }
    #[derive(Serialize, Deserialize)]
    struct Wrapped(Event);
    let refused = |result: Result<_, EncodeError>| matches!(result, Err(EncodeError::NotExternallyTagged { .. }));
    assert!(refused(encode_event(&Internal::A { x: 1 })));
    assert!(refused(encode_event(&Untagged::A { x: 1 })));
    assert!(refused(encode_event(&Adjacent::A(1))));
    assert!(refused(encode_event(&Wrapped(Event::Closed))));
    assert!(matches!(decode_event::<Internal>("A", r#"{"x":1}"#), Err(RawDecodeError::Payload(_))));
}

#[test]
fn an_unknown_type_is_told_from_a_payload_that_does_not_fit() {
    assert!(matches!(decode_event::<Event>("Gone", "{}"), Err(RawDecodeError::UnknownType)));
    assert!(matches!(decode_event::<Event>("Opened", "{}"), Err(RawDecodeError::Payload(_))));
    assert!(matches!(decode_event::<Event>("Moved", r#"{"street":"a"} x"#), Err(RawDecodeError::Payload(_))));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Today {
    Opened { owner: String },
    Deposited { cents: i64, currency: String },
}

#[derive(Deserialize)]
struct InCrowns {
    crowns: i64,
}

#[derive(Deserialize)]
struct OpenedWithDeposit {
    owner: String,
    cents: i64,
}

impl DomainEvent for Today {
    const CATEGORY: &'static str = "account";

    fn upcasters() -> Upcasters<Self> {
        let deposited = |cents| Today::Deposited { cents, currency: "CZK".into() };
        Upcasters::none()
            .rename("AccountOpened", "Started")
            .rename("Started", "Opened")
            .convert("Deposited", move |old: InCrowns| deposited(old.crowns * 100))
            .split("OpenedWithDeposit", move |old: OpenedWithDeposit| {
                vec![Today::Opened { owner: old.owner }, deposited(old.cents)]
            })
            .retire("AuditRequested")
    }
}

fn recorded(event_type: &str, payload: &str) -> RecordedEvent {
    NewEvent::new(EventType::new(event_type).unwrap(), Payload::from_json(payload).unwrap()).recorded(
        StreamId::new("account", "ann").unwrap(),
        Version::new(3),
        Position::new(7),
        time::OffsetDateTime::UNIX_EPOCH,
    )
}

fn upcast(event_type: &str, payload: &str) -> Result<Vec<(u32, Today)>, DecodeError> {
    let decoder = Decoder::new().with(|event: Today| event);
    let events = decoder.decode(recorded(event_type, payload))?;
    Ok(events.into_iter().map(|recorded| (recorded.ordinal(), recorded.event)).collect())
}

#[test]
fn upcasters_rename_convert_split_and_retire() {
    let opened = Today::Opened { owner: "Ann".into() };
    let deposited = |cents, currency: &str| Today::Deposited { cents, currency: currency.into() };
    assert_eq!(upcast("AccountOpened", r#"{"owner":"Ann"}"#).unwrap(), [(0, opened.clone())]);
    assert_eq!(upcast("Deposited", r#"{"crowns":3}"#).unwrap(), [(0, deposited(300, "CZK"))]);
    let of_today = upcast("Deposited", r#"{"cents":3,"currency":"EUR"}"#).unwrap();
    assert_eq!(of_today, [(0, deposited(3, "EUR"))], "what fits today's form is not converted");
    let split = upcast("OpenedWithDeposit", r#"{"owner":"Ann","cents":5}"#).unwrap();
    assert_eq!(split, [(0, opened), (1, deposited(5, "CZK"))]);
    assert_eq!(upcast("AuditRequested", "{}").unwrap(), []);
}

#[test]
fn what_neither_todays_form_nor_a_rule_reads_is_an_error_that_names_the_event() {
    let error = upcast("Vanished", "{}").unwrap_err();
    assert!(matches!(error, DecodeError::UnknownType { .. }));
    assert!(error.to_string().contains("position 7") && error.to_string().contains("Vanished"), "{error}");
    let error = upcast("Deposited", r#"{"pounds":1}"#).unwrap_err();
    assert!(matches!(&error, DecodeError::Payload { version, .. } if *version == Version::new(3)));
    assert!(matches!(upcast("OpenedWithDeposit", "{}"), Err(DecodeError::Payload { .. })));
}

#[test]
fn the_filter_of_an_enum_passes_its_whole_category_and_the_decoder_tells_what_it_knows() {
    let decoder = Decoder::new().with(|event: Today| event);
    assert_eq!(decoder.filter(), &EventFilter::all().or_category("account"));
    for event_type in ["Opened", "AccountOpened", "AuditRequested"] {
        assert!(decoder.knows(&recorded(event_type, "{}")), "{event_type}");
    }
    assert!(!decoder.knows(&recorded("Vanished", "{}")));
    // Several enums may share a category.
    assert!(decoder.with(|_: Vanishing| Today::Opened { owner: String::new() }).knows(&recorded("Vanished", "{}")));
}

#[derive(Serialize, Deserialize)]
enum Vanishing {
    Vanished {},
}

impl DomainEvent for Vanishing {
    const CATEGORY: &'static str = "account";
    const COVERAGE: Coverage = Coverage::Part;
}

#[test]
fn the_filter_of_an_enum_that_covers_part_of_its_category_names_the_types_that_it_knows() {
    let decoder = Decoder::new().with(|event: Vanishing| event);
    assert_eq!(decoder.filter(), &EventFilter::all().or_type("account", "Vanished"));
    assert!(!decoder.knows(&recorded("Opened", "{}")));
}

#[test]
fn an_enum_that_catches_unknown_types_wants_its_whole_category() {
    #[derive(Serialize, Deserialize)]
    enum Lenient {
        Known {},
        #[serde(other)]
        Unknown,
    }
    impl DomainEvent for Lenient {
        const CATEGORY: &'static str = "account";
    }
    let decoder = Decoder::new().with(|event: Lenient| event);
    assert_eq!(decoder.filter(), &EventFilter::all().or_category("account"));
    assert!(matches!(decoder.decode(recorded("Whatever", "{}")).unwrap()[0].event, Lenient::Unknown));
}
