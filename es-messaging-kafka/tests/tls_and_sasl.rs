//! TLS with client certificates, and credentials that are refused. By hand:
//! `cargo test -p es-messaging-kafka --features tls --test tls_and_sasl`
//!
//! What ends TLS stands in front of Tansu: version 0.6 takes no certificate by itself, since its command line allows either a certificate
//! or a key. And it knows no user, since it keeps none where it keeps its records here.
#![cfg(feature = "tls")]

mod mock;

use std::{net::Ipv4Addr, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use es_messaging::{Broker, BrokerError, Subscription, Topology};
use es_messaging_kafka::{Kafka, KafkaOptions};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    process::Command,
};
use tokio_rustls::TlsAcceptor;
use xtask::{
    brokers::{free_port, tansu::ThrowawayTansu},
    tools,
};

use crate::mock::{batch, drain, publish_at_last};

/// An authority that signs certificates, and a folder for files of them.
struct Authority {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = std::env::temp_dir().join(format!("kafka-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), certificate.pem()).unwrap();
        Self { der: certificate.der().clone(), issuer: Issuer::new(params, key), folder }
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn options(&self) -> KafkaOptions {
        let ca = self.folder.join("ca.pem");
        let options = KafkaOptions::new().partitions(2).replication(1).property("security.protocol", "ssl");
        options.property("ssl.ca.location", ca.to_str().unwrap())
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Ends TLS in front of a port.
async fn in_front_of(target: u16, listener: TcpListener, authority: &Authority, name: &str, clients: bool) {
    let (certificate, key) = authority.sign(name);
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let builder = if clients {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
}

/// A Tansu behind TLS, with a certificate for a name; its URL.
async fn behind_tls(authority: &Authority, name: &str, clients: bool) -> (ThrowawayTansu, String) {
    let install = tools::ensure_tansu().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (port, advertised) = (free_port().unwrap(), listener.local_addr().unwrap().port());
    let server = ThrowawayTansu::start_behind(&install, port, advertised).unwrap();
    in_front_of(port, listener, authority, name, clients).await;
    (server, format!("kafka://127.0.0.1:{advertised}"))
}

async fn there_and_back(kafka: &Kafka) {
    let all = Subscription::new("all", ["events"]);
    kafka.declare(&Topology::new(["events"], vec![all.clone()])).await.unwrap();
    publish_at_last(&*kafka.publisher().await.unwrap(), batch(0, 20)).await;
    let subscriber = kafka.subscriber(&all).await.unwrap();
    assert_eq!(drain(&*subscriber, 20).await.len(), 20);
    subscriber.close().await.unwrap();
}

async fn tls_error(url: &str, options: KafkaOptions) -> String {
    let said = format!("{options:?}");
    let error = Kafka::connect(url, options).await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, BrokerError::Tls { .. }), "{error:?} {said}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_by_tls_if_the_certificate_is_of_the_authority_and_of_this_name() {
    let authority = Authority::new("name");
    let (_server, url) = behind_tls(&authority, "127.0.0.1", false).await;
    there_and_back(&Kafka::connect(&url, authority.options()).await.unwrap()).await;
    let stranger = Authority::new("stranger");
    let error = tls_error(&url, stranger.options()).await;
    assert!(error.contains("ssl.ca.location"), "{error}");
    let error = tls_error(&url, KafkaOptions::new()).await;
    assert!(error.contains("security.protocol=ssl"), "{error}");
    let (_other, url) = behind_tls(&authority, "elsewhere.example", false).await;
    tls_error(&url, authority.options()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_a_certificate_lets_in_who_has_one() {
    let authority = Authority::new("client");
    let (_server, url) = behind_tls(&authority, "127.0.0.1", true).await;
    let (certificate, key) = authority.sign("ann");
    let options = authority
        .options()
        .property("ssl.certificate.location", authority.file("ann.pem", &certificate.pem()))
        .property("ssl.key.location", authority.file("ann.key", &key.serialize_pem()));
    there_and_back(&Kafka::connect(&url, options).await.unwrap()).await;
    tls_error(&url, authority.options()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_no_tls_is_told_from_one_that_is_away() {
    let authority = Authority::new("plain");
    let server = ThrowawayTansu::start(&tools::ensure_tansu().unwrap()).unwrap();
    tls_error(&server.url(), authority.options()).await;
    let nobody = format!("kafka://127.0.0.1:{}", free_port().unwrap());
    let error = Kafka::connect(&nobody, authority.options()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unavailable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_to_the_server_is_denied() {
    let port = free_port().unwrap();
    let address = format!("tcp://127.0.0.1:{port}");
    let mut command = Command::new(tools::ensure_tansu().unwrap().program());
    command.args(["--silent", "--storage-engine", "memory://tansu/", "--authentication"]);
    command.args(["--listener-url", &address, "--advertised-listener-url", &address]);
    let _server = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        let options = KafkaOptions::new().property("sasl.mechanism", mechanism);
        let error = Kafka::connect(&format!("kafka://ann:wrong@127.0.0.1:{port}"), options).await.unwrap_err();
        println!("by {mechanism}: {error}");
        assert!(matches!(error, BrokerError::Denied { .. }), "{error:?}");
    }
}
