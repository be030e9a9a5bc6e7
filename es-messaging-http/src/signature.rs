//! Signatures as the Standard Webhooks specification has them: of the id, the time and the body, with full stops between.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use es_messaging::percent_encode;
use ring::hmac;

use crate::{limits, secret::WebhookSecret};

pub(crate) const ID: &str = "webhook-id";
pub(crate) const TIMESTAMP: &str = "webhook-timestamp";
pub(crate) const SIGNATURE: &str = "webhook-signature";
/// The version of signatures by HMAC-SHA-256.
const VERSION: &str = "v1,";

/// A message's id as the `webhook-id` of what is sent: without full stops, which are what is between the parts of what is signed.
pub(crate) fn encode_id(id: &str) -> String {
    percent_encode(id).replace('.', "%2E")
}

/// Whether what is signed can be taken apart in one way only: neither the end of the id nor the beginning of the body can be a time.
/// A body that is a JSON object begins with no digit, so this matters for bodies of any other kind.
pub(crate) fn is_unambiguous(id: &str, body: &[u8]) -> bool {
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let id_ends = id.rsplit_once('.').is_some_and(|(_, end)| is_number(end.as_bytes()));
    let body_begins = body.iter().position(|byte| *byte == b'.').is_some_and(|stop| is_number(&body[..stop]));
    !id_ends && !body_begins
}

fn signed_by(secret: &WebhookSecret, id: &str, timestamp: &str, body: &[u8]) -> hmac::Context {
    let mut context = hmac::Context::with_key(secret.key());
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        context.update(part);
    }
    context
}

/// The signatures by each of the secrets, with spaces between.
pub(crate) fn sign(secrets: &[WebhookSecret], id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut signatures = String::new();
    for secret in secrets {
        let tag = signed_by(secret, id, timestamp, body).sign();
        let space = if signatures.is_empty() { "" } else { " " };
        // A String takes everything.
        let _ = write!(signatures, "{space}{VERSION}{}", STANDARD.encode(tag.as_ref()));
    }
    signatures
}

/// Whether one of the signatures is by one of the secrets. Compares in constant time; versions that it does not know are passed over.
pub(crate) fn verify(secrets: &[WebhookSecret], id: &str, timestamp: &str, body: &[u8], signatures: &str) -> bool {
    let tags: Vec<Vec<u8>> = signatures
        .split(' ')
        .filter_map(|signature| signature.strip_prefix(VERSION))
        .take(limits::MAX_SIGNATURES)
        .filter_map(|signature| STANDARD.decode(signature).ok())
        .collect();
    let mut found = false;
    for secret in secrets {
        let expected = signed_by(secret, id, timestamp, body).sign();
        for tag in &tags {
            found |= equal(secret.key(), expected.as_ref(), tag);
        }
    }
    found
}

/// Compares in constant time: by ring's comparison of tags, of which each is a tag of one of the two.
fn equal(key: &hmac::Key, expected: &[u8], given: &[u8]) -> bool {
    hmac::verify(key, given, hmac::sign(key, expected).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> WebhookSecret {
        WebhookSecret::from_bytes((0..32).collect::<Vec<u8>>()).unwrap()
    }

    /// Computed by another implementation: Python's hmac and base64.
    #[test]
    fn a_signature_is_what_others_compute() {
        let body = br#"{"event_type":"ping"}"#;
        let signature = sign(&[secret()], "msg_1", "1614265330", body);
        assert_eq!(signature, "v1,k3LIBePBtldDreY2ygZ41U+GWoMSclL84zhB/bq1y9k=");
        assert!(verify(&[secret()], "msg_1", "1614265330", body, &signature));
    }

    #[test]
    fn whatever_is_changed_breaks_the_signature() {
        let (id, time, body) = ("1", "100", b"body".as_slice());
        let signature = sign(&[secret()], id, time, body);
        let other = WebhookSecret::generate().unwrap();
        assert!(!verify(&[secret()], "2", time, body, &signature));
        assert!(!verify(&[secret()], id, "101", body, &signature));
        assert!(!verify(&[secret()], id, time, b"Body", &signature));
        assert!(!verify(&[other], id, time, body, &signature));
        assert!(!verify(&[secret()], id, time, body, ""));
        assert!(!verify(&[secret()], id, time, body, "v1,"));
        assert!(!verify(&[secret()], id, time, body, &signature.replace("v1,", "v2,")));
        assert!(!verify(&[secret()], id, time, body, &signature[..signature.len() - 4]));
    }

    #[test]
    fn one_good_signature_of_several_is_enough_within_the_bound() {
        let good = sign(&[secret()], "1", "100", b"body");
        assert!(verify(&[secret()], "1", "100", b"body", &format!("v1a,xyz v1,AAAA {good}")));
        let many = "v1,AAAA ".repeat(limits::MAX_SIGNATURES);
        assert!(!verify(&[secret()], "1", "100", b"body", &format!("{many}{good}")));
    }

    #[test]
    fn an_id_cannot_be_mistaken_for_another_part() {
        assert_eq!(encode_id("a.1 ö"), "a%2E1%20%C3%B6");
        // The same bytes are signed: the id ends in what may be the time, or the time is what the body begins with.
        let signature = sign(&[secret()], "a.100", "200", b"body");
        assert!(verify(&[secret()], "a", "100", b"200.body", &signature));
        assert!(!is_unambiguous("a.100", b"body") && !is_unambiguous("a", b"200.body"));
        for (id, body) in [("a.b", &b"body"[..]), ("a.", b"x.200"), ("100", b"{}"), ("a", b""), ("a", b".1")] {
            assert!(is_unambiguous(id, body), "{id}");
        }
    }
}
