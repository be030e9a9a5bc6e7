//! Schemas from types say what is stored and sent, and messages are checked by them.

use es_core::DomainEvent;
use es_messaging::{Message, MessageValidator};
use es_messaging_schemas::{Schema, SchemaError, SchemaSet, SchemaValidator, SchemaViolation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize, JsonSchema)]
struct Line {
    sku: String,
    count: u32,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Address {
    city: String,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OrderEvent {
    /// Placed by a customer.
    Placed {
        lines: Vec<Line>,
        note: Option<String>,
    },
    Moved(Address),
    #[serde(rename = "renamed")]
    Old {},
    /// Nothing more to say.
    Paid,
    Cancelled,
}

impl DomainEvent for OrderEvent {
    const CATEGORY: &'static str = "order";
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OrderPlaced {
    cents: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

fn set() -> SchemaSet {
    SchemaSet::new().payload::<OrderPlaced>("shop.order.placed").unwrap().events::<OrderEvent>().unwrap()
}

fn message(message_type: &str, content: &Value) -> Message {
    Message::builder(message_type, "/shop").json(content).unwrap().build().unwrap()
}

fn refused(validator: &SchemaValidator, message: &Message) -> String {
    validator.check(message).unwrap_err().to_string()
}

#[test]
fn each_event_type_has_the_schema_of_what_is_stored() {
    let set = set();
    let types: Vec<&str> = set.types().collect();
    assert_eq!(
        types,
        ["order.cancelled", "order.moved", "order.paid", "order.placed", "order.renamed", "shop.order.placed"]
    );
    let validator = SchemaValidator::new(&set).unwrap().strict();
    let events = [
        OrderEvent::Placed { lines: vec![Line { sku: "a".to_owned(), count: 2 }], note: None },
        OrderEvent::Moved(Address { city: "Ulm".to_owned() }),
        OrderEvent::Old {},
        OrderEvent::Paid,
        OrderEvent::Cancelled,
    ];
    for event in events {
        let stored = es_core::NewEvent::of(&event).unwrap();
        let content: Value = serde_json::from_str(stored.payload().as_str()).unwrap();
        let message = message(&format!("order.{}", stored.event_type()), &content);
        assert_eq!(validator.check(&message), Ok(()), "{content}");
    }
    // Only what a payload refers to comes along.
    let placed = set.get("order.placed").unwrap().json().unwrap();
    assert!(placed["$defs"].get("Line").is_some() && placed["$defs"].get("Address").is_none(), "{placed}");
    assert!(set.get("order.paid").unwrap().json().unwrap().get("$defs").is_none());
}

#[test]
fn the_same_types_always_have_the_same_schemas() {
    let text = |set: SchemaSet| set.iter().map(|(_, schema)| schema.text().to_owned()).collect::<Vec<_>>();
    assert_eq!(text(set()), text(set()));
}

#[test]
fn what_is_no_event_enum_is_refused() {
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is wanted")]
    struct NoEnum {
        a: u8,
    }
    #[derive(JsonSchema)]
    #[serde(tag = "kind")]
    #[expect(dead_code, reason = "only its schema is wanted")]
    enum TaggedInside {
        A { a: u8 },
        B { b: u8 },
    }
    let name = |event_type: &str| event_type.to_owned();
    for error in [SchemaSet::new().events_as::<NoEnum>(name), SchemaSet::new().events_as::<TaggedInside>(name)] {
        assert!(matches!(error, Err(SchemaError::NotAnEvent { .. })), "{error:?}");
    }
    let twice = SchemaSet::new().payload::<Line>("a").unwrap().payload::<Line>("a");
    assert!(matches!(twice, Err(SchemaError::Twice { .. })));
}

#[test]
fn a_violation_says_where_and_what_and_shows_no_value() {
    let validator = SchemaValidator::new(&set()).unwrap();
    let says = |content: Value| {
        let says = refused(&validator, &message("order.placed", &content));
        assert!(!says.contains("private"), "{says}");
        says
    };
    assert!(says(json!({"lines": [{"sku": "x", "count": "private"}]})).contains("/lines/0/count"));
    assert!(says(json!({"lines": [{"sku": "x", "count": -42}]})).contains("minimum"));
    assert!(says(json!({"lines": "private"})).contains("/lines: value is not of type \"array\""));
    assert!(says(json!({"note": "private"})).contains("/: \"lines\" is a required property"));
    let extra = message("shop.order.placed", &json!({"cents": 1, "other": "private"}));
    let said = refused(&validator, &extra);
    assert!(!said.contains("other"), "the name of an unknown property is content: {said}");
    let many: Vec<Value> = (0..100).map(|_| json!({"sku": 1, "count": 1})).collect();
    assert_eq!(says(json!({"lines": many})).matches("/sku").count(), 8);
    let wrong = Message::builder("order.placed", "/").data("application/json", b"{\"private".to_vec()).build().unwrap();
    let says = refused(&validator, &wrong);
    assert!(says.contains("line 1") && !says.contains("private"), "{says}");
    // As the consumer calls it.
    assert!(validator.validate(&wrong).is_err());
}

#[test]
fn a_message_that_names_its_schema_is_checked_by_that() {
    let uri = "https://shop.example/schemas/order.placed/2";
    let second = Schema::json_schema(&json!({"type": "object", "required": ["amount"]})).unwrap();
    let validator = SchemaValidator::new(&set()).unwrap().data_schema(uri, &second).unwrap();
    let of_second = message("shop.order.placed", &json!({"amount": 1}));
    assert!(validator.check(&of_second).is_err());
    let named = of_second.to_builder().data_schema(uri).build().unwrap();
    assert_eq!(validator.check(&named), Ok(()));
    let first = message("shop.order.placed", &json!({"cents": 1})).to_builder().data_schema(uri).build().unwrap();
    assert!(refused(&validator, &first).contains("amount"));
}

#[test]
fn what_has_no_schema_passes_unless_strict() {
    let validator = SchemaValidator::new(&set()).unwrap();
    let other = message("other", &json!(1));
    let binary = Message::builder("order.placed", "/").data("application/avro", vec![0]).build().unwrap();
    assert_eq!((validator.check(&other), validator.check(&binary)), (Ok(()), Ok(())));
    let strict = validator.strict();
    assert!(matches!(strict.check(&other), Err(SchemaViolation::Unknown { .. })));
    assert!(matches!(strict.check(&binary), Err(SchemaViolation::NotJson { .. })));
}

#[test]
fn a_schema_that_leads_elsewhere_is_refused_and_nothing_is_fetched() {
    for wrong in [json!({"$ref": "http://127.0.0.1:9/other.json"}), json!({"type": "nothing"}), json!({"pattern": "("})]
    {
        let set = SchemaSet::new().schema("a", Schema::json_schema(&wrong).unwrap()).unwrap();
        assert!(matches!(SchemaValidator::new(&set), Err(SchemaError::Invalid { .. })), "{wrong}");
    }
}
