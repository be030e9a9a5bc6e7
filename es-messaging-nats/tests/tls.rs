//! TLS, certificates of clients and files of credentials, and what goes wrong with them.

mod common;

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{SOON, ids, outgoing, start};
use es_messaging::{Broker, BrokerError, Subscription, Topology};
use es_messaging_nats::{Nats, NatsOptions};
use es_testkit::Authority;
use nkeys::KeyPair;
use xtask::brokers::nats::NatsOptions as ServerOptions;

fn options() -> NatsOptions {
    NatsOptions::new().assume_synced()
}

async fn refused(url: &str, options: NatsOptions) -> BrokerError {
    Nats::connect(url, options).await.expect_err("no connection")
}

/// Writes files beside the server's own, which go with it.
fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Publishes a message and receives it.
async fn works(nats: &Nats) {
    let subscription = Subscription::new("all", ["#"]);
    nats.declare(&Topology::new(["order.placed"], vec![subscription.clone()])).await.unwrap();
    nats.publisher().await.unwrap().publish(&[outgoing("1", None)]).await.remove(0).unwrap();
    let came = nats.subscriber(&subscription).await.unwrap().receive(1, SOON).await.unwrap();
    assert_eq!(ids(&came), ["1"]);
}

#[tokio::test]
async fn a_client_with_a_certificate_is_let_in_and_every_mismatch_says_what_to_do() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.server("127.0.0.1");
    let server = start(&ServerOptions::durable().with_tls(&certificate, &key, Some(authority.pem())));
    let (plain, folder) = (start(&ServerOptions::default()), server.folder());
    let (certificate, key) = authority.server("nats.example");
    let elsewhere = start(&ServerOptions::default().with_tls(&certificate, &key, None));
    let ca = write(folder, "ca.pem", authority.pem());
    let other_ca = write(folder, "other-ca.pem", other.pem());
    let identity = |name: &str, (certificate, key): (String, String)| {
        (write(folder, &format!("{name}.pem"), &certificate), write(folder, &format!("{name}.key"), &key))
    };
    let (client, stranger) = (identity("client", authority.client("ann")), identity("stranger", other.client("ann")));
    let trusting = || options().ca(&ca);
    let good = || trusting().client_certificate(&client.0, &client.1);
    let plain_url = server.url();
    let tls = plain_url.replace("nats:", "tls:");

    works(&Nats::connect(&tls, good()).await.unwrap()).await;
    // A server that insists on TLS gets it from whoever leaves it to the server.
    Nats::connect(&plain_url, good()).await.unwrap();

    for (url, options, advice) in [
        // `nats://` is what a client without TLS says.
        (&plain_url, options(), "ca=FILE"),
        (&tls, options(), "ca=FILE"),
        (&tls, good().ca(&other_ca), "ca=FILE"),
        (&plain_url, good().ca(&other_ca), "ca=FILE"),
        (&elsewhere.url(), good(), "by a name that is in the server's certificate"),
        (&plain.url().replace("nats:", "tls:"), good(), "connect by nats://"),
    ] {
        let error = refused(url, options).await;
        assert!(matches!(error, BrokerError::Tls { .. }) && error.to_string().contains(advice), "{advice}: {error:?}");
    }
    for options in [trusting(), trusting().client_certificate(&stranger.0, &stranger.1)] {
        let said = match refused(&tls, options).await {
            BrokerError::Tls { reason, .. } => reason,
            // The connection may be gone before the server's reason came.
            BrokerError::Unavailable { source, .. } => source.to_string(),
            error => panic!("{error:?}"),
        };
        assert!(said.contains("client_certificate") || said.contains("stranger.pem"), "{said}");
    }
    for options in [options().ca("/nowhere/ca.pem"), good().client_certificate(&client.1, &client.0)] {
        let error = refused(&tls, options).await;
        assert!(matches!(error, BrokerError::Config { .. }) && error.to_string().contains(".pem"), "{error:?}");
    }
}

#[tokio::test]
async fn wrong_credentials_over_tls_are_denied_and_not_taken_for_a_mismatch() {
    let authority = Authority::new();
    let (certificate, key) = authority.server("127.0.0.1");
    let users = "authorization { users: [{user: ann, password: right}] }";
    let server = start(&ServerOptions::durable().with_tls(&certificate, &key, None).with_lines(users));
    let ca = write(server.folder(), "ca.pem", authority.pem());
    let url = |user: &str| format!("tls://{user}127.0.0.1:{}/?ca={}", server.port(), ca.display());
    works(&Nats::connect(&url("ann:right@"), options()).await.unwrap()).await;
    for (user, advice) in [("ann:wrong@", "\"ann\""), ("bob:right@", "\"bob\""), ("", "user:password@")] {
        let error = refused(&url(user), options()).await;
        assert!(matches!(error, BrokerError::Denied { .. }) && error.to_string().contains(advice), "{error:?}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
}

/// A token as NATS has them: who says what of whom.
fn token(issuer: &KeyPair, subject: &str, name: &str, claims: &serde_json::Value) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let head = serde_json::json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = serde_json::json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name, "sub": subject, "nats": claims,
    });
    let text = format!("{}.{}", encode(head.to_string().as_bytes()), encode(body.to_string().as_bytes()));
    format!("{text}.{}", encode(&issuer.sign(text.as_bytes()).unwrap()))
}

#[tokio::test]
async fn a_file_of_credentials_lets_in_and_a_wrong_one_is_denied() {
    let (operator, account, system) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let limits = serde_json::json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_operator = serde_json::json!({ "type": "operator", "version": 2, "system_account": system.public_key() });
    let of_account = serde_json::json!({ "type": "account", "version": 2, "limits": limits });
    let of_system = serde_json::json!({
        "type": "account", "version": 2, "limits": { "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1 },
    });
    let lines = format!(
        "operator: {}\nresolver: MEMORY\nresolver_preload: {{\n{}: {}\n{}: {}\n}}",
        token(&operator, &operator.public_key(), "operator", &of_operator),
        account.public_key(),
        token(&operator, &account.public_key(), "account", &of_account),
        system.public_key(),
        token(&operator, &system.public_key(), "system", &of_system),
    );
    let server = start(&ServerOptions::durable().with_lines(&lines));
    let credentials = |name: &str, issuer: &KeyPair| {
        let user = KeyPair::new_user();
        let claims = serde_json::json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let (token, seed) = (token(issuer, &user.public_key(), name, &claims), user.seed().unwrap());
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        write(server.folder(), &format!("{name}.creds"), &text)
    };
    let (good, stranger) = (credentials("ann", &account), credentials("stranger", &KeyPair::new_account()));
    works(&Nats::connect(&format!("{}/?credentials={}", server.url(), good.display()), options()).await.unwrap()).await;
    let error = refused(&server.url(), options().credentials(&stranger)).await;
    assert!(matches!(error, BrokerError::Denied { .. }) && error.to_string().contains("stranger.creds"), "{error:?}");
    let garbage = write(server.folder(), "garbage.creds", "nothing");
    for file in [garbage.as_path(), Path::new("/nowhere/ann.creds")] {
        let error = refused(&server.url(), options().credentials(file)).await;
        let named = error.to_string().contains(&file.display().to_string());
        assert!(matches!(error, BrokerError::Config { .. }) && named, "{error:?}");
    }
}
