//! Avro and Protobuf as content.

use es_messaging::Message;
use es_messaging_schemas::{
    AvroFormat, Compatibility, FileRegistry, FrameError, JsonFormat, PayloadError, PayloadFormat, ProtobufFormat,
    Schema, SchemaFormat, SchemaId, can_read, framing::frame,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Placed {
    id: String,
    cents: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PlacedToday {
    id: String,
    cents: i64,
    note: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PlacedProto {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int64, tag = "2")]
    cents: i64,
}

fn avro(more: &str) -> Schema {
    let text = format!(
        r#"{{"type":"record","name":"Placed","fields":[{{"name":"id","type":"string"}},{{"name":"cents","type":"long"}}{more}]}}"#
    );
    Schema::parse(SchemaFormat::Avro, &text).unwrap()
}

fn with_note() -> Schema {
    avro(r#",{"name":"note","type":["null","string"],"default":null}"#)
}

fn placed() -> Placed {
    Placed { id: "7".to_owned(), cents: -100 }
}

fn written<T>(format: &impl PayloadFormat<T>, value: &T) -> Message {
    format.write(Message::builder("shop.order.placed", "/shop"), value).unwrap().build().unwrap()
}

#[test]
fn a_value_survives_every_format() {
    let json = JsonFormat::of_schema("urn:json");
    let message = written(&json, &placed());
    assert_eq!((message.content_type(), message.data_schema()), ("application/json", Some("urn:json")));
    assert_eq!(PayloadFormat::<Placed>::read(&json, &message).unwrap(), placed());

    let avro = AvroFormat::<Placed>::new(&avro(""), "urn:1").unwrap();
    let message = written(&avro, &placed());
    assert_eq!((message.content_type(), message.data_schema()), ("application/avro", Some("urn:1")));
    // The length of the text, the text, the number: no names, no schema.
    assert_eq!(message.data(), [2, b'7', 0xc7, 1]);
    assert_eq!(avro.read(&message).unwrap(), placed());

    let value = PlacedProto { id: "7".to_owned(), cents: 100 };
    for format in [ProtobufFormat::new("urn:proto"), ProtobufFormat::framed(SchemaId(5), [0])] {
        let message = written(&format, &value);
        assert_eq!(message.content_type(), "application/protobuf");
        assert_eq!(format.read(&message).unwrap(), value);
    }
}

#[test]
fn a_reader_of_today_reads_what_was_written_before() {
    let before = AvroFormat::<Placed>::new(&avro(""), "urn:1").unwrap();
    let today = AvroFormat::<PlacedToday>::new(&with_note(), "urn:2").unwrap().written_by("urn:1", &avro("")).unwrap();
    let read = today.read(&written(&before, &placed())).unwrap();
    assert_eq!(read, PlacedToday { id: "7".to_owned(), cents: -100, note: None });
    let unknown = before.read(&written(&today, &read)).unwrap_err();
    assert!(matches!(unknown, PayloadError::UnknownDataSchema { uri } if uri == "urn:2"));
}

#[tokio::test]
async fn a_framed_message_is_read_after_its_schema_was_learned() {
    let folder = tempfile::tempdir().unwrap();
    let registry = FileRegistry::create(folder.path(), Compatibility::Full).unwrap();
    let first = registry.add("placed", &avro("")).unwrap().id;
    let second = registry.add("placed", &with_note()).unwrap().id;
    let before = AvroFormat::<Placed>::framed(&avro(""), first).unwrap();
    let today = AvroFormat::<PlacedToday>::framed(&with_note(), second).unwrap();
    let message = written(&before, &placed());
    assert_eq!(message.data()[..5], [0, 0, 0, 0, 1]);
    assert!(matches!(today.read(&message), Err(PayloadError::UnknownSchema { id }) if id == first));
    today.learn(&registry, &message).await.unwrap();
    assert_eq!(today.read(&message).unwrap().note, None);
    let nobody = message.to_builder().data("application/avro", frame(SchemaId(99), b"x")).build().unwrap();
    assert!(today.learn(&registry, &nobody).await.is_err());
}

#[test]
fn content_that_is_something_else_is_an_error() {
    let format = AvroFormat::<Placed>::framed(&avro(""), SchemaId(1)).unwrap();
    let read = |content_type: &str, data: Vec<u8>| {
        format.read(&Message::builder("t", "/").data(content_type, data).build().unwrap()).unwrap_err()
    };
    assert!(matches!(read("application/json", b"{}".to_vec()), PayloadError::ContentType { .. }));
    assert!(matches!(read("application/avro", b"{}".to_vec()), PayloadError::Frame(FrameError::Magic { .. })));
    assert!(matches!(read("application/avro", vec![0]), PayloadError::Frame(FrameError::Short { .. })));
    for wrong in [&[][..], &[2][..], &[2, b'7', 0xc7, 1, 9][..], &[0xff, 0xff, 0xff, 0xff, 0x7f][..], &[3][..]] {
        let error = read("application/avro", frame(SchemaId(1), wrong));
        assert!(matches!(error, PayloadError::Decode { .. }), "{wrong:?}: {error:?}");
    }
    let proto = ProtobufFormat::<PlacedProto>::framed(SchemaId(1), [1, 0]);
    let other = ProtobufFormat::<PlacedProto>::framed(SchemaId(1), [0]);
    let message = written(&other, &PlacedProto::default());
    assert!(matches!(proto.read(&message), Err(PayloadError::OtherMessage { .. })));
    let cut = message.to_builder().data("application/protobuf", vec![0, 0, 0, 0, 1, 0, 10, 200]).build().unwrap();
    assert!(matches!(other.read(&cut), Err(PayloadError::Decode { .. })));
    let json = Message::builder("t", "/").data("application/json", br#"{"id":"private"}"#.to_vec()).build().unwrap();
    let error = PayloadFormat::<Placed>::read(&JsonFormat::new(), &json).unwrap_err();
    assert!(!error.to_string().contains("private"), "{error}");
}

#[test]
fn avro_compatibility_is_that_of_its_specification() {
    assert!(can_read(&with_note(), &avro("")).unwrap().is_compatible());
    assert!(can_read(&avro(""), &with_note()).unwrap().is_compatible());
    let asks_more = avro(r#",{"name":"note","type":"string"}"#);
    let report = can_read(&asks_more, &avro("")).unwrap();
    assert!(!report.breaks.is_empty(), "{report}");
    let json = Schema::parse(SchemaFormat::Json, "{}").unwrap();
    assert!(can_read(&json, &avro("")).unwrap().to_string().contains("one is JSON, the other AVRO"));
    assert!(Schema::parse(SchemaFormat::Avro, r#"{"type":"nothing"}"#).is_err());
    assert!(Schema::parse(SchemaFormat::Protobuf, "message {").is_err());
}

/// A list of values of a kind, and what reads it.
fn list_of(items: &str) -> AvroFormat<Vec<serde_json::Value>> {
    let schema = Schema::parse(SchemaFormat::Avro, &format!(r#"{{"type":"array","items":{items}}}"#)).unwrap();
    AvroFormat::new(&schema, "urn:list").unwrap()
}

fn refused<T: Serialize + serde::de::DeserializeOwned + std::fmt::Debug>(
    format: &AvroFormat<T>,
    content: &[u8],
) -> String {
    let message = Message::builder("t", "/").data("application/avro", content).data_schema("urn:list").build().unwrap();
    format.read(&message).unwrap_err().to_string()
}

/// A number as Avro writes it.
fn long(number: u64) -> Vec<u8> {
    let (mut rest, mut out) = (number << 1, Vec::new());
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

#[test]
fn content_of_few_bytes_cannot_take_much_memory() {
    // As many items in each of many lists as one allocation may have: a gigabyte of nothing.
    let nulls = [long(250_000), long(0)].concat();
    let lists = [long(64), nulls.repeat(64), long(0)].concat();
    let empty = r#"{"type":"record","name":"Empty","fields":[{"name":"n","type":"null"}]}"#;
    for (items, content) in [
        (r#"{"type":"array","items":"null"}"#.to_owned(), lists.clone()),
        (format!(r#"{{"type":"array","items":{empty}}}"#), lists),
        ("\"null\"".to_owned(), [long(200_000), long(200_000), long(0)].concat()),
        // The library takes the end of the content for nulls.
        ("\"string\"".to_owned(), long(250_000)),
        (r#"["null","string"]"#.to_owned(), long(250_000)),
        ("\"boolean\"".to_owned(), long(250_000)),
    ] {
        let said = refused(&list_of(&items), &content);
        assert!(said.contains("take no bytes") || said.contains("not what its schema says"), "{items}: {said}");
    }
    // A byte each, and a sum that is too large though no allocation is.
    let content = [long(40), [long(200_000), vec![0; 200_000], long(0)].concat().repeat(40), long(0)].concat();
    let said = refused(&list_of(r#"{"type":"array","items":"long"}"#), &content);
    assert!(said.contains("bytes of memory"), "{said}");
    let fields: String = (0..500).map(|n| format!(r#",{{"name":"f{n}","type":"null"}}"#)).collect();
    let wide = format!(r#"{{"type":"record","name":"Wide","fields":[{{"name":"f","type":"boolean"}}{fields}]}}"#);
    let said = refused(&list_of(&wide), &[long(10_000), vec![1; 10_000], long(0)].concat());
    assert!(said.contains("bytes of memory"), "{said}");
}

#[test]
fn content_that_nests_without_end_is_refused() {
    let node =
        r#"{"type":"record","name":"Node","namespace":"shop","fields":[{"name":"next","type":["null","Node"]}]}"#;
    let said = refused(&list_of(node), &[long(1), vec![2; 1_000_000]].concat());
    assert!(said.contains("nests deeper"), "{said}");
    // What nests as messages do is read.
    let format = list_of(node);
    let content = [long(1), vec![2; 15], vec![0], long(0)].concat();
    let message = Message::builder("t", "/").data("application/avro", content).data_schema("urn:list").build().unwrap();
    assert_eq!(format.read(&message).unwrap().len(), 1);
}

#[test]
fn every_kind_of_value_is_read_as_before() {
    let kinds = r#"{"type":"record","name":"Kinds","namespace":"shop","fields":[
        {"name":"nothing","type":"null"},{"name":"flag","type":"boolean"},{"name":"int","type":"int"},
        {"name":"long","type":"long"},{"name":"float","type":"float"},{"name":"double","type":"double"},
        {"name":"text","type":"string"},
        {"name":"suit","type":{"type":"enum","name":"Suit","symbols":["Hearts","Spades"]}},
        {"name":"other","type":"Suit"},{"name":"few","type":{"type":"array","items":"null"}},
        {"name":"map","type":{"type":"map","values":"long"}},{"name":"maybe","type":["null","string"]}]}"#;
    let format = AvroFormat::<serde_json::Value>::new(&Schema::parse(SchemaFormat::Avro, kinds).unwrap(), "urn:list");
    let content = [
        vec![1, 3, 4],
        vec![0; 4],
        vec![0; 8],
        vec![4, b'a', b'b', 2, 0],
        // A block of a negative count has its size behind it.
        vec![3, 0, 0],
        vec![1, 6, 2, b'k', 8, 0],
        vec![2, 2, b'x'],
    ];
    let message = Message::builder("t", "/").data("application/avro", content.concat()).data_schema("urn:list");
    let read = format.unwrap().read(&message.build().unwrap()).unwrap();
    assert_eq!((&read["text"], &read["map"]["k"], &read["maybe"]), (&"ab".into(), &4.into(), &"x".into()));
    assert_eq!(
        (&read["suit"], &read["other"], &read["few"]),
        (&"Spades".into(), &"Hearts".into(), &serde_json::json!([null, null]))
    );
}
