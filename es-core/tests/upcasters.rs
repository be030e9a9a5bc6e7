//! Events of older forms: which rule reads them, and which rules are refused.

use std::{convert::Infallible, fmt::Debug};

use es_core::{
    Aggregate, Append, DecodeError, DomainEvent, EncodeError, EventSet, EventStore, EventType, ExpectedVersion,
    LoadError, MemoryStore, Metadata, NewEvent, Payload, Position, Repository, StreamId, Upcasters, Version,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The events that `E` reads from a stored one.
fn read<E: DomainEvent>(event_type: &str, json: &str, metadata: Metadata) -> Result<Vec<E>, DecodeError> {
    let event = NewEvent::new(EventType::new(event_type).unwrap(), Payload::from_json(json).unwrap());
    let stream = StreamId::new(E::CATEGORY, "1").unwrap();
    let event =
        event.with_metadata(metadata).recorded(stream, Version::new(1), Position::new(1), OffsetDateTime::UNIX_EPOCH);
    Ok(E::decoder().decode(event)?.into_iter().map(|part| part.event).collect())
}

fn read_old<E: DomainEvent>(event_type: &str, json: &str) -> Vec<E> {
    read(event_type, json, Metadata::new()).unwrap()
}

/// An enum with rules, in one line each.
macro_rules! events {
    ($name:ident { $($variants:tt)* }, version $version:literal, $rules:expr) => {
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        enum $name { $($variants)* }
        impl DomainEvent for $name {
            const CATEGORY: &'static str = "upcast";
            const SCHEMA_VERSION: u32 = $version;
            fn upcasters() -> Upcasters<Self> {
                $rules
            }
        }
    };
}

#[derive(Deserialize)]
struct Crowns {
    crowns: i64,
}

#[derive(Deserialize)]
struct Cents {
    cents: i64,
}

#[derive(Deserialize)]
struct Who {
    who: String,
}

#[test]
fn a_rule_goes_before_a_variant_that_would_swallow_the_event() {
    events!(
        Lenient {
            Opened { owner: String },
            #[serde(other)]
            Unknown,
        },
        version 1,
        Upcasters::none()
            .rename("AccountOpened", "Opened")
            .convert("OpenedV1", |old: Who| Lenient::Opened { owner: old.who })
            .retire("Audited")
    );
    let opened = [Lenient::Opened { owner: "ann".into() }];
    assert_eq!(read_old::<Lenient>("AccountOpened", r#"{"owner":"ann"}"#), opened);
    assert_eq!(read_old::<Lenient>("OpenedV1", r#"{"who":"ann"}"#), opened);
    assert_eq!(read_old::<Lenient>("Audited", "{}"), []);
    assert_eq!(read_old::<Lenient>("Anything", r#"{"n":1}"#), [Lenient::Unknown]);
    let unreadable = read::<Lenient>("OpenedV1", "{}", Metadata::new());
    assert!(matches!(unreadable, Err(DecodeError::Payload { .. })), "what its rule cannot read is not swallowed");
}

#[test]
fn the_form_that_fits_best_reads_an_event() {
    events!(
        Payment {
            Paid {
                cents: Option<i64>,
                #[serde(default)]
                currency: String,
                #[serde(default)]
                nested: Option<Nested>,
            },
            Closed,
            ClosedBy { who: String },
        },
        version 1,
        Upcasters::none()
            .convert("Paid", |old: Crowns| paid(Some(old.crowns * 100), "CZK"))
            .convert("Paid", |old: Cents| paid(Some(old.cents), "v2"))
            .convert("Paid", |old: InNested| paid(Some(old.nested.old), "nested"))
            .convert("Paid", |old: serde_json::Value| paid(None, &old.to_string()))
            .convert("Closed", |old: Who| Payment::ClosedBy { who: old.who })
    );
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Nested {
        new: Option<i64>,
    }
    #[derive(Deserialize)]
    struct Old {
        old: i64,
    }
    #[derive(Deserialize)]
    struct InNested {
        nested: Old,
    }
    fn paid(cents: Option<i64>, currency: &str) -> Payment {
        Payment::Paid { cents, currency: currency.into(), nested: None }
    }
    let read_paid = |json: &str| read_old::<Payment>("Paid", json);
    assert_eq!(read_paid(r#"{"crowns":5}"#), [paid(Some(500), "CZK")], "a field that became optional");
    assert_eq!(read_paid(r#"{"cents":5}"#), [paid(Some(5), "v2")], "the second older form");
    assert_eq!(read_paid(r#"{"nested":{"old":7}}"#), [paid(Some(7), "nested")], "by a nested field");
    let of_today = r#"{"cents":5,"currency":"EUR","nested":null}"#;
    assert_eq!(read_paid(of_today), [paid(Some(5), "EUR")]);
    assert_eq!(read_paid(r#"{"x":1}"#), [paid(None, r#"{"x":1}"#)], "a form that takes anything comes last");
    assert_eq!(read_old::<Payment>("Closed", r#"{"who":"ann"}"#), [Payment::ClosedBy { who: "ann".into() }]);
    assert_eq!(read_old::<Payment>("Closed", "{}"), [Payment::Closed]);
}

#[test]
fn a_rule_whose_form_is_that_of_today_takes_the_event_and_writing_such_an_event_is_refused() {
    events!(
        Order { Packed {}, Handed { parcel: String } },
        version 1,
        Upcasters::none().split("Handed", |old: Parcel| vec![Order::Packed {}, Order::Handed { parcel: old.parcel }])
    );
    #[derive(Deserialize)]
    struct Parcel {
        parcel: String,
    }
    let handed = Order::Handed { parcel: "p".into() };
    assert_eq!(read_old::<Order>("Handed", r#"{"parcel":"p"}"#), [Order::Packed {}, handed.clone()]);
    let error = NewEvent::of(&handed).unwrap_err();
    assert!(
        matches!(error, EncodeError::NotReadable { .. }) && error.to_string().contains("SCHEMA_VERSION"),
        "{error}"
    );
    NewEvent::of(&Order::Packed {}).unwrap();

    events!(
        Versioned { Packed {}, Handed { parcel: String } },
        version 2,
        Upcasters::none().before(2, |rules| {
            rules.split("Handed", |old: Parcel| vec![Versioned::Packed {}, Versioned::Handed { parcel: old.parcel }])
        })
    );
    let handed = Versioned::Handed { parcel: "p".into() };
    assert_eq!(read_old::<Versioned>("Handed", r#"{"parcel":"p"}"#), [Versioned::Packed {}, handed.clone()]);
    let stored = NewEvent::of(&handed).unwrap().with_metadata(Metadata::new().with_actor("ann"));
    assert_eq!((stored.metadata().schema_version(), stored.metadata().actor()), (2, Some("ann")));
    let read_back = read::<Versioned>("Handed", stored.payload().as_str(), stored.metadata().clone());
    assert_eq!(read_back.unwrap(), [handed]);
}

#[test]
fn rules_are_bound_to_the_schema_version_that_the_event_was_written_in() {
    events!(
        Weight { Weighed { grams: i64 } },
        version 3,
        Upcasters::none()
            .before(3, |rules| rules.convert("Weighed", |old: Grams| Weight::Weighed { grams: old.grams * 1_000 }))
            .before(2, |rules| {
                let rules = rules.retire("Tared");
                rules.convert("Weighed", |old: Grams| Weight::Weighed { grams: old.grams * 1_000_000 })
            })
            .rename("Tared", "Weighed")
    );
    #[derive(Deserialize)]
    struct Grams {
        grams: i64,
    }
    let weighed = |event_type, version| {
        read::<Weight>(event_type, r#"{"grams":1}"#, Metadata::new().with_schema_version(version)).unwrap()
    };
    assert_eq!(weighed("Weighed", 1), [Weight::Weighed { grams: 1_000_000 }]);
    assert_eq!(weighed("Weighed", 2), [Weight::Weighed { grams: 1_000 }]);
    assert_eq!(weighed("Weighed", 3), [Weight::Weighed { grams: 1 }]);
    assert_eq!(weighed("Tared", 1), []);
    assert_eq!(weighed("Tared", 3), [Weight::Weighed { grams: 1 }]);
}

#[tokio::test]
async fn a_repository_writes_the_schema_version_and_reads_by_it() {
    events!(
        Counted { Added { n: i64 } },
        version 2,
        Upcasters::none().before(2, |rules| rules.convert("Added", |old: Number| Counted::Added { n: old.n * 10 }))
    );
    #[derive(Deserialize)]
    struct Number {
        n: i64,
    }
    #[derive(Default, Clone)]
    struct Sum(i64);
    impl Aggregate for Sum {
        type Event = Counted;
        type Command = i64;
        type Error = Infallible;
        fn handle(&self, &n: &i64) -> Result<Vec<Counted>, Infallible> {
            Ok(vec![Counted::Added { n }])
        }
        fn apply(&mut self, Counted::Added { n }: &Counted) {
            self.0 += n;
        }
    }
    let store = MemoryStore::new();
    let old = NewEvent::new(EventType::new("Added").unwrap(), Payload::from_json(r#"{"n":1}"#).unwrap());
    let stream = StreamId::new("upcast", "a").unwrap();
    store.append(&Append::to(stream, ExpectedVersion::NoStream, vec![old]).build().unwrap()).await.unwrap();
    let sums = Repository::<Sum>::new(&store).without_cache();
    let done = sums.execute("a", 1).actor("ann").await.unwrap();
    assert_eq!(done.events[0].metadata().schema_version(), 2);
    assert_eq!(sums.load("a").await.unwrap().state.0, 11);
}

/// What a decoder finds wrong with the rules.
fn problem<E: DomainEvent>() -> String {
    let Err(DecodeError::Misconfigured { problem, .. }) = E::decoder().check() else { return "nothing".to_owned() };
    problem
}

#[test]
fn a_rule_that_can_never_apply_is_an_error() {
    macro_rules! refused {
        ($part:literal, version $version:literal, $rules:expr) => {{
            events!(Wrong { Known {} }, version $version, $rules);
            let problem = problem::<Wrong>();
            assert!(problem.contains($part), "{problem:?} has no {:?}", $part);
            assert!(read::<Wrong>("Known", "{}", Metadata::new()).is_err());
        }};
    }
    let known = |_: Cents| Wrong0::Known {};
    events!(Wrong0 { Known {} }, version 1, Upcasters::none());
    assert_eq!((problem::<Wrong0>().as_str(), known(Cents { cents: 1 })), ("nothing", Wrong0::Known {}));
    refused!("neither a variant nor", version 1, Upcasters::none().rename("Old", "Vanished"));
    refused!("lead back", version 1, Upcasters::none().rename("Old", "Old"));
    refused!("lead back", version 1, Upcasters::none().rename("A", "B").rename("B", "C").rename("C", "A"));
    refused!("never apply", version 1, Upcasters::none().convert("Old", |_: Cents| Wrong::Known {}).retire("Old"));
    refused!("never apply", version 1, Upcasters::none().retire("Old").rename("Old", "Known"));
    refused!("never apply", version 1, Upcasters::none().retire("Old").retire("Old"));
    refused!("same form", version 1, Upcasters::none()
        .convert("Old", |_: Cents| Wrong::Known {})
        .convert("Old", |_: Cents| Wrong::Known {}));
    refused!("never apply", version 1, Upcasters::none().retire("\n"));
    refused!("SCHEMA_VERSION is 1", version 1, Upcasters::none().before(2, |rules| rules.retire("Old")));
    refused!("versions start at 1", version 2, Upcasters::none().before(1, |rules| rules.retire("Old")));
}

#[tokio::test]
async fn a_repository_reports_a_rule_that_can_never_apply_at_its_first_use() {
    events!(Circle { Known {} }, version 1, Upcasters::none().rename("A", "A"));
    #[derive(Default, Clone, Debug)]
    struct State;
    impl Aggregate for State {
        type Event = Circle;
        type Command = ();
        type Error = Infallible;
        fn handle(&self, (): &()) -> Result<Vec<Circle>, Infallible> {
            Ok(vec![Circle::Known {}])
        }
        fn apply(&mut self, _: &Circle) {}
    }
    let states = Repository::<State>::new(&MemoryStore::new());
    let loaded = states.load("1").await;
    assert!(matches!(loaded, Err(LoadError::Decode(DecodeError::Misconfigured { .. }))), "{loaded:?}");
    assert!(states.execute("1", ()).await.is_err());
}
