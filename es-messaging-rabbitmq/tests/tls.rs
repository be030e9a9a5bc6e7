//! TLS with client certificates, and what goes wrong with them.
#![cfg(feature = "tls")]

mod support;

use es_messaging::{Broker, BrokerError, Message, Outgoing, Subscription, Topology};
use es_messaging_rabbitmq::{RabbitMq, RabbitMqOptions};
use es_testkit::Authority;
use support::start;
use xtask::brokers::rabbitmq::RabbitMqOptions as ServerOptions;

async fn refused(url: &str, options: RabbitMqOptions) -> BrokerError {
    RabbitMq::connect(url, options).await.expect_err("no connection")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_certificate_is_let_in_and_every_mismatch_is_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.server("localhost");
    let options = ServerOptions::default().with_tls(authority.pem(), &certificate, &key);
    let server = tokio::task::block_in_place(|| start(&options));
    let port = server.tls_port().expect("a port for TLS");
    let url = format!("amqps://guest:guest@localhost:{port}/%2f");
    let client = authority.client("client");
    let good = || {
        let options = RabbitMqOptions::default().trust(authority.pem());
        options.client_certificate(client.0.clone(), client.1.clone())
    };

    let broker = RabbitMq::connect(&url, good()).await.expect("a connection");
    let subscription = Subscription::new("tls", ["t"]);
    broker.declare(&Topology::new(["t"], vec![subscription.clone()])).await.expect("it is declared");
    let message = Message::builder("t", "/").id("1").build().expect("a message");
    let results =
        broker.publisher().await.expect("a publisher").publish(&[Outgoing { topic: "t".into(), message }]).await;
    assert!(results[0].is_ok(), "{results:?}");
    let subscriber = broker.subscriber(&subscription).await.expect("a subscriber");
    let came = subscriber.receive(1, std::time::Duration::from_secs(10)).await.expect("messages");
    assert_eq!(came[0].content.as_ref().expect("a message").id(), "1");

    let other = Authority::new();
    let stranger = other.client("client");
    for (what, url, options) in [
        ("no authority is trusted", url.clone(), RabbitMqOptions::default()),
        ("the client has no certificate", url.clone(), RabbitMqOptions::default().trust(authority.pem())),
        ("another authority is trusted", url.clone(), good().trust(other.pem())),
        (
            "the client's certificate is a stranger's",
            url.clone(),
            good().client_certificate(stranger.0.clone(), stranger.1.clone()),
        ),
        ("the name is another", url.replace("localhost", "127.0.0.1"), good()),
        ("TLS to the plain port", url.replace(&port.to_string(), &server.port().to_string()), good()),
        ("no TLS to the port for it", url.replace("amqps", "amqp"), good()),
    ] {
        let mut error = refused(&url, options.clone()).await;
        // A server that was not spoken to in TLS may reset the connection before its complaint is read; not every time.
        for _ in 0..10 {
            if !what.starts_with("no TLS") || !matches!(error, BrokerError::Unavailable { .. }) {
                break;
            }
            error = refused(&url, options.clone()).await;
        }
        // A server that does not like the client's certificate may close the connection before it has said so.
        let cut = what.starts_with("the client") && matches!(error, BrokerError::Unavailable { .. });
        assert!(cut || matches!(error, BrokerError::Tls { .. }), "{what}: {error:?}");
        println!("{what}: {error}");
    }
    let garbage = good().client_certificate("no certificate", "no key");
    let error = refused(&url, garbage).await;
    assert!(matches!(error, BrokerError::Tls { .. } | BrokerError::Config { .. }), "{error:?}");
}
