//! The client of a registry by HTTP.

use std::time::Duration;

use es_messaging_schemas::{
    ConfluentConfig, ConfluentRegistry, RegistryError, Schema, SchemaFormat, SchemaId, SchemaRegistry, SchemaVersion,
};
use serde_json::json;

use crate::server::RegistryServer;

fn registry(server: &RegistryServer) -> ConfluentRegistry {
    ConfluentRegistry::new(ConfluentConfig::new(server.url()).basic_auth("ann", "secret")).unwrap()
}

fn order(max_length: u64) -> Schema {
    Schema::json_schema(&json!({"type": "object", "properties": {"id": {"type": "string", "maxLength": max_length}}}))
        .unwrap()
}

fn avro() -> Schema {
    Schema::parse(SchemaFormat::Avro, r#"{"type":"record","name":"R","fields":[]}"#).unwrap()
}

#[tokio::test]
async fn schemas_are_registered_and_found_again() {
    let server = RegistryServer::start().await;
    let registry = registry(&server);
    let subject = "shop/größe order-value";
    assert!(matches!(registry.latest(subject).await, Err(RegistryError::NoSubject { .. })));
    for new in [subject, "none"] {
        assert!(registry.check(new, &order(5)).await.unwrap().is_compatible());
    }
    assert_eq!(registry.register(subject, &order(5)).await.unwrap(), SchemaId(1));
    assert_eq!(registry.register(subject, &order(9)).await.unwrap(), SchemaId(2));
    assert_eq!(registry.register(subject, &order(5)).await.unwrap(), SchemaId(1));
    assert_eq!(registry.register("avro", &avro()).await.unwrap(), SchemaId(3));
    assert_eq!(registry.versions(subject).await.unwrap(), [SchemaVersion(1), SchemaVersion(2)]);
    let latest = registry.latest(subject).await.unwrap();
    assert_eq!((latest.version, latest.id, latest.schema), (SchemaVersion(2), SchemaId(2), order(9)));
    assert_eq!(registry.version(subject, SchemaVersion(1)).await.unwrap().schema, order(5));
    let none = registry.version(subject, SchemaVersion(7)).await;
    assert!(matches!(none, Err(RegistryError::NoVersion { version: SchemaVersion(7), .. })));
}

#[tokio::test]
async fn what_an_id_stands_for_is_asked_once() {
    let server = RegistryServer::start().await;
    registry(&server).register("a", &avro()).await.unwrap();
    let registry = registry(&server);
    for _ in 0..5 {
        assert_eq!(registry.schema(SchemaId(1)).await.unwrap(), avro());
    }
    let asked = server.requests().iter().filter(|line| line.contains("/schemas/ids/1")).count();
    assert_eq!(asked, 1);
    for _ in 0..2 {
        assert!(matches!(registry.schema(SchemaId(9)).await, Err(RegistryError::NoSchema { id: SchemaId(9) })));
    }
    assert_eq!(server.requests().iter().filter(|line| line.contains("/schemas/ids/9")).count(), 2);
}

#[tokio::test]
async fn what_does_not_go_with_those_before_it_is_refused_with_the_reason() {
    let server = RegistryServer::start().await;
    let registry = registry(&server);
    registry.register("order", &order(5)).await.unwrap();
    let report = registry.check("order", &order(3)).await.unwrap();
    assert!(!report.is_compatible() && report.to_string().contains("at most 3 characters"), "{report}");
    let error = registry.register("order", &order(3)).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Incompatible { reason, .. } if reason.contains("at most 3")), "{error}");
}

#[tokio::test]
async fn each_answer_is_an_error_of_its_kind() {
    let server = RegistryServer::start().await;
    let good = registry(&server);
    let stranger = ConfluentRegistry::new(ConfluentConfig::new(server.url())).unwrap();
    assert!(matches!(stranger.latest("a").await, Err(RegistryError::Denied { status: 401 })));
    let answered = async |status: u16, body: &str| {
        server.answer_next(status, body);
        good.register("a", &avro()).await.unwrap_err()
    };
    assert!(matches!(answered(403, "{}").await, RegistryError::Denied { status: 403 }));
    let refused = answered(422, r#"{"error_code":42201,"message":"no schema"}"#).await;
    assert!(matches!(&refused, RegistryError::Refused { reason } if reason.contains("no schema")), "{refused}");
    assert!(refused.to_string().contains("422 (error_code 42201): no schema"), "{refused}");
    // A registry without the path, and something before it that is none.
    let unknown = answered(404, r#"{"error_code":404,"message":"Not Found"}"#).await;
    assert!(matches!(&unknown, RegistryError::Refused { reason } if reason == "404: Not Found"), "{unknown}");
    let proxy = answered(405, "Method not allowed\n").await;
    assert!(matches!(&proxy, RegistryError::Refused { reason } if reason == "405: Method not allowed"), "{proxy}");
    for status in [500, 502, 503] {
        let error = answered(status, "<html>").await;
        assert!(matches!(error, RegistryError::Unavailable { .. }) && error.is_transient(), "{error}");
    }
    assert!(answered(429, "").await.is_transient());
    for body in ["", "{}", r#"{"id":-1}"#, "\u{0}"] {
        let error = answered(200, body).await;
        assert!(matches!(error, RegistryError::Answer { .. }), "{body:?}: {error}");
    }
    let large = format!("{{\"id\":1,\"x\":\"{}\"}}", "x".repeat(3 * 1_024 * 1_024));
    assert!(matches!(answered(200, &large).await, RegistryError::Answer { reason } if reason.contains("bytes")));
    server.answer_next(200, r#"{"schema":"{}","schemaType":"JSON","references":[{"name":"a"}]}"#);
    assert!(
        matches!(good.schema(SchemaId(5)).await, Err(RegistryError::Answer { reason }) if reason.contains("refers"))
    );
    server.answer_next(200, r#"{"schema":"{","schemaType":"JSON"}"#);
    assert!(matches!(good.schema(SchemaId(5)).await, Err(RegistryError::Schema(_))));
    server.answer_next(200, r#"{"schema":"{}","schemaType":"XML"}"#);
    assert!(matches!(good.schema(SchemaId(5)).await, Err(RegistryError::Answer { .. })));
}

#[tokio::test]
async fn nobody_there_is_said_within_the_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = ConfluentConfig::new(url).timeout(Duration::from_millis(200));
    // Takes the connection, and answers nothing.
    let error = ConfluentRegistry::new(config).unwrap().latest("a").await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("no answer within"), "{error}");
    for wrong in ["http://registry.example", "registry", "https://ann:secret@registry.example"] {
        let error = ConfluentRegistry::new(ConfluentConfig::new(wrong)).unwrap_err().to_string();
        assert!(error.contains("URL") && !error.contains("secret"), "{error}");
    }
}

#[test]
fn credentials_are_shown_nowhere() {
    let config = ConfluentConfig::new("http://localhost/token-secret").basic_auth("ann", "secret");
    let shown = format!("{config:?} {:?}", ConfluentRegistry::new(config.clone()).unwrap());
    assert!(!shown.contains("secret") && !shown.contains("YW5u"), "{shown}");
}
