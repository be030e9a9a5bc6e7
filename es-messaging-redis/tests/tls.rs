//! TLS with client certificates, and what goes wrong with it and with passwords.
#![cfg(feature = "tls")]

mod common;

use common::{SOON, ids, outgoing, start};
use es_messaging::{Broker, BrokerError, Subscription, Topology};
use es_messaging_redis::{RedisOptions, RedisStreams};
use es_testkit::Authority;
use xtask::brokers::redis::RedisOptions as ServerOptions;

async fn refused(url: &str, options: RedisOptions) -> BrokerError {
    let connected = tokio::time::timeout(SOON * 2, RedisStreams::connect(url, options)).await;
    connected.expect("it does not take long").expect_err("no connection")
}

fn text(error: &BrokerError) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_certificate_is_let_in_and_every_mismatch_says_what_to_do() {
    let authority = Authority::new();
    let (certificate, key) = authority.server("localhost");
    let options = ServerOptions::durable().with_tls(authority.pem(), &certificate, &key);
    let server = start(&options.with_lines("requirepass right\nuser bob on >right ~* +@all -xadd -config"));
    let (port, plain) = (server.tls_port().unwrap(), server.port());
    let url = format!("rediss://:right@localhost:{port}");
    let client = authority.client("client");
    let trusting = || RedisOptions::new().trust(authority.pem().to_owned());
    let good = || trusting().client_certificate(client.0.clone(), client.1.clone());

    let redis = RedisStreams::connect(&url, good()).await.unwrap();
    let all = Subscription::new("all", ["#"]);
    redis.declare(&Topology::new(["order.placed"], vec![all.clone()])).await.unwrap();
    let subscriber = redis.subscriber(&all).await.unwrap();
    redis.publisher().await.unwrap().publish(&[outgoing("1", None)]).await.remove(0).unwrap();
    assert_eq!(ids(&subscriber.receive(1, SOON).await.unwrap()), ["1"]);

    let other = Authority::new();
    let stranger = other.client("client");
    let port = |url: &str, port_there: u16| url.replace(&port.to_string(), &port_there.to_string());
    for (what, url, options, hint) in [
        ("no authority is trusted", url.clone(), RedisOptions::new(), "trust the authority"),
        ("another authority is trusted", url.clone(), good().trust(other.pem().to_owned()), "trust the authority"),
        ("the name is another", url.replace("localhost", "127.0.0.1"), good(), "name"),
        ("the client has no certificate", url.clone(), trusting(), "certificate"),
        (
            "the client's certificate is a stranger's",
            url.clone(),
            trusting().client_certificate(stranger.0.clone(), stranger.1.clone()),
            "certificate",
        ),
        ("TLS to the plain port", port(&url, plain), good(), "redis:"),
        ("no TLS to the port for it", url.replace("rediss", "redis"), RedisOptions::new(), "rediss:"),
    ] {
        let error = refused(&url, options).await;
        println!("{what}: {}", text(&error));
        assert!(matches!(error, BrokerError::Tls { .. }), "{what}: {error:?}");
        assert!(text(&error).contains(hint), "{what}: {error}");
        assert!(!text(&error).contains("right"), "{what}: it shows the password: {error}");
    }
    for (what, url, options) in [
        ("no certificate at all", url.clone(), good().client_certificate("no certificate", "no key")),
        ("certificates without TLS", port(&url.replace("rediss", "redis"), plain), good()),
    ] {
        let error = refused(&url, options).await;
        println!("{what}: {}", text(&error));
        assert!(matches!(error, BrokerError::Config { .. }), "{what}: {error:?}");
    }
    for (what, url, hint) in [
        ("another password", url.replace("right", "wrong"), "correct user and password"),
        ("an unknown user", url.replace(":right", "ann:right"), "correct user and password"),
        ("no password", url.replace(":right@", ""), "give user and password"),
    ] {
        let error = refused(&url, good()).await;
        println!("{what}: {}", text(&error));
        assert!(matches!(error, BrokerError::Denied { .. }), "{what}: {error:?}");
        assert!(text(&error).contains(hint), "{what}: {error}");
    }
    let bob = RedisStreams::connect(&url.replace(":right", "bob:right"), good()).await.unwrap();
    let result = bob.publisher().await.unwrap().publish(&[outgoing("2", None)]).await.remove(0).unwrap_err();
    assert!(result.is_transient(), "it is no fault of the message: {result:?}");
    let said = std::error::Error::source(&result).map(ToString::to_string).unwrap_or_default();
    assert!(said.contains("ACL SETUSER"), "{said}");
}
