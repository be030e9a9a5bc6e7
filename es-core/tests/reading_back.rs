//! What would not be read as it was written is refused before it is stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use es_core::{DomainEvent, EncodeError, EventSet, NewEvent, Position, StreamId, Version, limits};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

macro_rules! event {
    ($(#[$attribute:meta])* $name:ident { $($variants:tt)* }) => {
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])*
        enum $name { $($variants)* }
        impl DomainEvent for $name {
            const CATEGORY: &'static str = "back";
        }
    };
}

fn refusal<E: DomainEvent>(event: E) -> String {
    match NewEvent::of(&event) {
        Err(EncodeError::NotReadable { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn comes_back<E: DomainEvent + PartialEq + std::fmt::Debug>(event: E) {
    let stored = NewEvent::of(&event).unwrap();
    let stream = StreamId::new(E::CATEGORY, "1").unwrap();
    let recorded = stored.recorded(stream, Version::new(1), Position::new(1), OffsetDateTime::UNIX_EPOCH);
    let read: Vec<E> = E::decoder().decode(recorded).unwrap().into_iter().map(|part| part.event).collect();
    assert_eq!(read, [event]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Money {
    units: u128,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Count {
    count: u64,
    share: f64,
}

#[test]
fn a_flattened_field_is_stored_as_long_as_it_can_be_read() {
    event!(Flat {
        Counted { by: String, #[serde(flatten)] count: Count },
        Paid { by: String, #[serde(flatten)] money: Money },
    });
    comes_back(Flat::Counted { by: "ann".into(), count: Count { count: u64::MAX, share: 0.1 } });
    let problem = refusal(Flat::Paid { by: "ann".into(), money: Money { units: u128::from(u64::MAX) + 1 } });
    assert!(problem.contains("flatten"), "{problem}");

    event!(Keyed { Paid { by: String, #[serde(flatten)] rest: BTreeMap<String, i64> } });
    let keyed = |key: &str| Keyed::Paid { by: "ann".into(), rest: [(key.to_owned(), 1)].into() };
    comes_back(keyed("other"));
    assert!(matches!(NewEvent::of(&keyed("by")), Err(EncodeError::RepeatedKey { .. })));
}

#[test]
fn names_that_differ_for_writing_and_reading_are_found_with_the_first_event() {
    event!(Variants {
        #[serde(rename(serialize = "written", deserialize = "read"))]
        Twofold { n: i64 },
        #[serde(skip_deserializing)]
        Skipped { n: i64 },
    });
    assert!(refusal(Variants::Twofold { n: 1 }).contains("one name"));
    assert!(refusal(Variants::Skipped { n: 1 }).contains("skip_deserializing"));
    event!(Fields {
        Renamed {
            #[serde(rename(serialize = "written", deserialize = "read"), default)]
            n: i64,
        },
        Skipped {
            #[serde(skip_deserializing)]
            n: i64,
        },
    });
    // Both have the value that reading fills in, and are found all the same.
    assert!(refusal(Fields::Renamed { n: 0 }).contains("one name"));
    assert!(refusal(Fields::Skipped { n: 0 }).contains("skip_deserializing"));
}

#[test]
fn what_is_left_out_or_turned_into_null_is_refused_where_it_does_not_come_back() {
    event!(Optional {
        Noted { note: Option<Option<String>>, unit: Option<()>, list: Vec<Option<()>> },
        Skipping { #[serde(skip_serializing_if = "String::is_empty")] note: String },
        Defaulting { #[serde(default, skip_serializing_if = "String::is_empty")] note: String },
    });
    let noted = |note, unit, list| Optional::Noted { note, unit, list };
    comes_back(noted(Some(Some("x".into())), None, vec![None]));
    refusal(noted(None, None, vec![Some(())]));
    comes_back(noted(None, None, vec![]));
    refusal(noted(Some(None), None, vec![]));
    comes_back(Optional::Skipping { note: "x".into() });
    assert!(refusal(Optional::Skipping { note: String::new() }).contains("default"));
    comes_back(Optional::Defaulting { note: String::new() });
}

#[test]
fn an_untagged_enum_is_refused_where_another_variant_reads_it() {
    event!(Untagged { Paid { cents: i64 }, #[serde(untagged)] Legacy { what: String } });
    assert!(NewEvent::of(&Untagged::Paid { cents: 1 }).is_err());
    assert!(NewEvent::of(&Untagged::Legacy { what: "x".into() }).is_err());

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Amount {
        Small { n: i64 },
        Large { n: i64, unit: String },
    }
    event!(Inside { Set { amount: Amount } });
    comes_back(Inside::Set { amount: Amount::Small { n: 1 } });
    refusal(Inside::Set { amount: Amount::Large { n: 1, unit: "t".into() } });
}

#[test]
fn nesting_ends_at_the_named_limit() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Tree {
        children: Vec<Tree>,
    }
    event!(Deep { Grown { tree: Tree }, Bare(Tree) });
    let tree = |levels: usize| (1..levels).fold(Tree { children: vec![] }, |tree, _| Tree { children: vec![tree] });
    // Two levels each; around `tree` there is one more.
    comes_back(Deep::Bare(tree(limits::MAX_JSON_DEPTH / 2)));
    comes_back(Deep::Grown { tree: tree(limits::MAX_JSON_DEPTH / 2 - 1) });
    for deep in
        [Deep::Bare(tree(limits::MAX_JSON_DEPTH / 2 + 1)), Deep::Grown { tree: tree(limits::MAX_JSON_DEPTH / 2) }]
    {
        assert!(matches!(NewEvent::of(&deep), Err(EncodeError::TooDeep { limit: limits::MAX_JSON_DEPTH, .. })));
    }
}

#[test]
fn ordinary_values_of_every_kind_come_back() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Inner {
        A,
        B { n: i64 },
        C(Option<f32>),
    }
    event!(Every {
        Unit,
        NoFields {},
        NoParts(),
        Null(()),
        Maybe(Option<i64>),
        Two(i64, String),
        Inner(Inner),
        Large { u: u128, i: i128, map: HashMap<u64, i64>, set: HashSet<String>, bytes: Vec<u8>, c: char },
        #[serde(rename = "Übergabe / %_'\"")]
        Odd { #[serde(alias = "m")] n: i64 },
        Floats { many: Vec<f64>, single: Vec<f32> },
    });
    let set: HashSet<String> = (0..20).map(|n| n.to_string()).collect();
    let map: HashMap<u64, i64> = (0..20).map(|n| (u64::MAX - n, 1)).collect();
    comes_back(Every::Large { u: u128::MAX, i: i128::MIN, map, set, bytes: vec![0, 255], c: 'ß' });
    for event in
        [Every::Unit, Every::NoFields {}, Every::NoParts(), Every::Null(()), Every::Maybe(None), Every::Maybe(Some(1))]
    {
        comes_back(event);
    }
    for inner in [Inner::A, Inner::B { n: 1 }, Inner::C(None), Inner::C(Some(7.038531e-26))] {
        comes_back(Every::Inner(inner));
    }
    comes_back(Every::Two(1, "x".into()));
    comes_back(Every::Odd { n: 1 });
    let many = vec![117.63331139400017, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1e21, 0.1 + 0.2, 9_007_199_254_740_993.0];
    comes_back(Every::Floats { many, single: vec![0.1, f32::MAX, f32::MIN_POSITIVE, 7.038531e-26, 16_777_217.0] });
    let zero = NewEvent::of(&Every::Floats { many: vec![-0.0], single: vec![-0.0] }).unwrap();
    assert_eq!(zero.payload().as_str(), r#"{"many":[-0.0],"single":[-0.0]}"#);
}
