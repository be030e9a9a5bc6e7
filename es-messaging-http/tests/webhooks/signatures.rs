//! What a webhook signs, its verifier takes, and nothing else.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use es_messaging::{Message, Publisher};
use es_messaging_http::{ContentMode, Webhook, WebhookConfig, WebhookError, WebhookVerifier};
use time::OffsetDateTime;

use crate::server::{Received, Reply, Server, outgoing, secret};

async fn sent(configure: impl Fn(WebhookConfig) -> WebhookConfig) -> Received {
    let server = Server::start(|_| Reply::Status(202)).await;
    let webhook = Webhook::new(configure(server.config())).unwrap();
    webhook.publish(&[outgoing("id.1 ö", Some("k"))]).await.remove(0).unwrap();
    server.received().remove(0)
}

fn verifier(secrets: &[u8]) -> WebhookVerifier {
    WebhookVerifier::new(secrets.iter().map(|number| secret(*number))).unwrap()
}

#[tokio::test]
async fn what_is_sent_is_verified_and_is_the_same_message() {
    let original = outgoing("id.1 ö", Some("k")).message;
    let structured = sent(|config| config).await;
    assert_eq!(structured.line, "POST /hooks HTTP/1.1");
    let message = verifier(&[1]).verify(&structured.headers, &structured.body).unwrap();
    assert_eq!((message.attributes(), message.data()), (original.attributes(), original.data()));

    let binary = sent(|config| config.mode(ContentMode::Binary)).await;
    assert_eq!(binary.headers["ce-subject"], "order/gr%C3%B6%C3%9Fe%2017");
    assert_eq!(binary.headers["ce-partitionkey"], "k");
    assert_eq!(binary.headers["content-type"], "application/json");
    assert_eq!(binary.body, br#"{"cents":100}"#);
    let refused = verifier(&[1]).verify(&binary.headers, &binary.body).unwrap_err();
    assert_eq!((refused.clone(), refused.status()), (WebhookError::Mode { mode: "binary" }, 415));
    let message = verifier(&[1]).accept_binary_mode().verify(&binary.headers, &binary.body).unwrap();
    assert_eq!((message.attributes(), message.data()), (original.attributes(), original.data()));
}

#[tokio::test]
async fn the_content_type_tells_the_mode_whatever_its_case() {
    let request = sent(|config| config).await;
    let with = |content_type: &str| {
        let mut request = request.clone();
        request.headers.insert("content-type".to_owned(), content_type.to_owned());
        verifier(&[1]).verify(&request.headers, &request.body)
    };
    assert_eq!(with("Application/CloudEvents+JSON ; charset=utf-8").unwrap().id(), "id.1 ö");
    for (content_type, mode) in [
        ("application/CloudEvents-Batch+json", "batched"),
        ("application/cloudevents+avro", "structured, but not JSON,"),
        ("application/json", "binary"),
    ] {
        let error = with(content_type).unwrap_err();
        assert_eq!((error.clone(), error.status()), (WebhookError::Mode { mode }, 415));
    }
}

#[tokio::test]
async fn a_request_that_was_changed_is_refused() {
    let request = sent(|config| config).await;
    let changed = |change: &dyn Fn(&mut Received)| {
        let mut request = request.clone();
        change(&mut request);
        verifier(&[1]).verify(&request.headers, &request.body).unwrap_err()
    };
    let set = |name: &'static str, value: &'static str| {
        changed(&move |request| {
            request.headers.insert(name.to_owned(), value.to_owned());
        })
    };
    let missing = |name: &'static str| {
        changed(&move |request| {
            request.headers.remove(name);
        })
    };
    let body = changed(&|request| *request.body.last_mut().unwrap() = b' ');
    assert_eq!((body.clone(), body.status()), (WebhookError::Signature, 401));
    assert_eq!(set("webhook-id", "other"), WebhookError::Signature);
    assert_eq!(set("webhook-timestamp", "1614265330"), WebhookError::Signature);
    assert_eq!(set("webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="), WebhookError::Signature);
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let error = missing(name);
        assert_eq!((error.clone(), error.status()), (WebhookError::Header { name, problem: "missing" }, 400));
    }
    assert_eq!(set("webhook-id", "a.b"), WebhookError::Signature);
    for (name, value) in [("webhook-timestamp", "+5"), ("webhook-timestamp", "9".repeat(30).leak()), ("webhook-id", "")]
    {
        assert!(matches!(set(name, value), WebhookError::Header { name: wrong, .. } if wrong == name), "{value}");
    }
    let twice = request.headers.iter().chain(request.headers.iter());
    let twice = verifier(&[1]).verify(twice, &request.body).unwrap_err();
    assert!(matches!(twice, WebhookError::Header { problem: "there twice", .. }));
    assert_eq!(verifier(&[2]).verify(&request.headers, &request.body).unwrap_err(), WebhookError::Signature);
    let small = verifier(&[1]).body_bytes(10).verify(&request.headers, &request.body).unwrap_err();
    assert_eq!(small.status(), 413);
}

#[tokio::test]
async fn an_old_request_cannot_be_sent_again() {
    let request = sent(|config| config).await;
    let at = |offset: time::Duration| {
        verifier(&[1]).tolerance(Duration::from_secs(60)).verify_at(
            &request.headers,
            &request.body,
            OffsetDateTime::now_utc() + offset,
        )
    };
    assert!(at(time::Duration::seconds(50)).is_ok());
    assert!(at(time::Duration::seconds(-50)).is_ok());
    assert!(matches!(at(time::Duration::seconds(70)), Err(WebhookError::Time { seconds: ..-60, .. })));
    assert!(matches!(at(time::Duration::seconds(-70)), Err(WebhookError::Time { seconds: 60.., .. })));
}

#[tokio::test]
async fn a_secret_is_changed_without_a_gap() {
    let old = sent(|config| config).await;
    let both = sent(|config| config.secret(secret(2))).await;
    for (request, known, taken) in
        [(&old, &[1][..], true), (&old, &[2], false), (&old, &[2, 1], true), (&both, &[1], true), (&both, &[2], true)]
    {
        assert_eq!(verifier(known).verify(&request.headers, &request.body).is_ok(), taken, "{known:?}");
    }
    assert!(!old.headers["webhook-signature"].contains(' '));
    assert_eq!(both.headers["webhook-signature"].split(' ').count(), 2);
}

/// A request that another sender of Standard Webhooks signed, at a time.
fn signed(id: &str, at: i64, content_type: &str, body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[1; 32]);
    let tag = ring::hmac::sign(&key, &[id.as_bytes(), b".", at.to_string().as_bytes(), b".", body].concat());
    vec![
        ("webhook-id", id.as_bytes().to_vec()),
        ("webhook-timestamp", at.to_string().into_bytes()),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(tag.as_ref())).into_bytes()),
        ("content-type", content_type.as_bytes().to_vec()),
    ]
}

#[test]
fn a_request_may_have_another_id_than_its_event_and_periods_in_it() {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    for event_id in ["1", "a.b", "größe"] {
        let event = Message::builder("t", "/elsewhere").id(event_id).json(&1).unwrap().build().unwrap();
        let body = event.to_structured().unwrap();
        for id in ["msg_p5jXN8AQM9LWM0D4loKWxJek", "a.b", "1.2.3", "a%2Eb", event_id] {
            let headers = signed(id, now, "application/cloudevents+json", &body);
            assert_eq!(verifier(&[1]).verify(headers.clone(), &body).unwrap().id(), event_id, "{id}");
            let signed = verifier(&[1]).verify_signature(headers, &body).unwrap();
            assert_eq!((signed.id.as_str(), signed.sent_at.unix_timestamp()), (id, now));
        }
    }
}

#[test]
fn a_request_that_is_no_cloud_event_has_its_signature_checked() {
    let (now, body) = (OffsetDateTime::now_utc().unix_timestamp(), br#"{"type":"user.created","data":{"id":"1"}}"#);
    let headers = signed("msg_1", now, "application/json", body);
    assert_eq!(verifier(&[1]).verify_signature(headers.clone(), body).unwrap().id, "msg_1");
    assert_eq!(verifier(&[1]).verify(headers.clone(), body), Err(WebhookError::Mode { mode: "binary" }));
    assert_eq!(verifier(&[2]).verify_signature(headers.clone(), body), Err(WebhookError::Signature));
    assert_eq!(verifier(&[1]).verify_signature(headers, b"{}"), Err(WebhookError::Signature));
    let old = signed("msg_1", now - 3_600, "application/json", body);
    assert!(matches!(verifier(&[1]).verify_signature(old, body), Err(WebhookError::Time { .. })));
}

#[test]
fn a_part_of_what_was_signed_cannot_become_another_part() {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut headers = signed(&format!("a.{now}"), 200, "text/plain", b"body");
    // The same signature, taken apart elsewhere: another id, time and body.
    headers[0].1 = b"a".to_vec();
    headers[1].1 = now.to_string().into_bytes();
    for (name, value) in [("ce-specversion", "1.0"), ("ce-id", "a"), ("ce-source", "/s"), ("ce-type", "t")] {
        headers.push((name, value.as_bytes().to_vec()));
    }
    let error = verifier(&[1]).accept_binary_mode().verify(headers, b"200.body").unwrap_err();
    assert_eq!(error, WebhookError::Id);
}

#[tokio::test]
async fn a_signed_message_cannot_take_the_id_of_another() {
    // Binary mode: the id among the attributes is not what was signed.
    let mut request = sent(|config| config.mode(ContentMode::Binary)).await;
    request.headers.insert("ce-id".to_owned(), "other".to_owned());
    let error = verifier(&[1]).accept_binary_mode().verify(&request.headers, &request.body).unwrap_err();
    assert_eq!(error, WebhookError::Id);
}

#[test]
fn secrets_are_shown_nowhere_and_counted() {
    let text = secret(1).reveal();
    let secret_part = text.trim_start_matches("whsec_");
    let url = "https://example.com/path-secret?token=query-secret";
    let config = WebhookConfig::new(url).secret(secret(1)).header("authorization", "Bearer header-secret").unwrap();
    let webhook = Webhook::new(config.clone()).unwrap();
    let shown = format!("{config:?} {webhook:?} {:?} {}", verifier(&[1]), webhook.endpoint());
    for private in [secret_part, "path-secret", "query-secret", "header-secret"] {
        assert!(!shown.contains(private), "{private} in {shown}");
    }
    for wrong in [
        WebhookConfig::new(url),
        WebhookConfig::new(url).secret(secret(1)).unsigned(),
        (0..9).fold(WebhookConfig::new(url), |config, number| config.secret(secret(number))),
    ] {
        assert!(Webhook::new(wrong).unwrap_err().to_string().contains("secrets of a webhook"));
    }
    assert!(WebhookVerifier::new([]).is_err());
    assert!(WebhookVerifier::new((0..9).map(secret)).is_err());
    for name in ["webhook-id", "ce-type", "Content-Type", "host", "no name"] {
        assert!(WebhookConfig::new(url).header(name, "x").is_err(), "{name}");
    }
}
