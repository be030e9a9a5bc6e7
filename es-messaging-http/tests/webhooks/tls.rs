//! https with certificates of one's own.

use std::sync::Arc;

use es_messaging::{PublishError, Publisher};
use es_messaging_http::{Tls, Webhook, WebhookConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use crate::server::{Reply, Server, outgoing, secret};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issued(authority: &Issuer, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap(), key)
}

async fn server(authority: &Issuer, name: &str, clients: bool) -> Server {
    let (certificate, key) = issued(authority, name);
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let builder = if clients {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::start_with(
        |_| Reply::Status(200),
        move |stream| {
            let acceptor = acceptor.clone();
            async move { acceptor.accept(stream).await.ok() }
        },
    )
    .await
}

async fn publish(server: &Server, host: &str, tls: Option<Tls>) -> Result<(), String> {
    let url = format!("https://{host}:{}/hooks", server.address.port());
    let config = WebhookConfig::new(url).secret(secret(1));
    let config = match tls {
        Some(tls) => config.tls(tls),
        None => config,
    };
    match Webhook::new(config).unwrap().publish(&[outgoing("1", None)]).await.remove(0) {
        Ok(()) => Ok(()),
        Err(PublishError::Unconfirmed { source, .. }) => Err(source.to_string()),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_is_trusted_by_its_authority_and_name_alone() {
    let authority = authority();
    let server = server(&authority, "localhost", false).await;
    let own = Tls::own(authority.pem().as_bytes(), None).unwrap();
    assert_eq!(publish(&server, "localhost", Some(own.clone())).await, Ok(()));
    let wrong_name = publish(&server, "127.0.0.1", Some(own)).await.unwrap_err();
    assert!(wrong_name.contains("no TLS connection"), "{wrong_name}");
    let unknown = publish(&server, "localhost", None).await.unwrap_err();
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let authority = authority();
    let server = server(&authority, "localhost", true).await;
    let (certificate, key) = issued(&authority, "client");
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let with = Tls::own(authority.pem().as_bytes(), Some((chain.as_bytes(), key.as_bytes()))).unwrap();
    assert_eq!(publish(&server, "localhost", Some(with.clone())).await, Ok(()));
    assert_eq!(format!("{with:?}"), "Tls");
    let without = Tls::own(authority.pem().as_bytes(), None).unwrap();
    assert!(publish(&server, "localhost", Some(without)).await.is_err());
}

#[tokio::test]
async fn plain_http_to_a_tls_server_and_the_other_way_round_say_so() {
    let authority = authority();
    let server = server(&authority, "localhost", false).await;
    let plain = Webhook::new(WebhookConfig::new(server.url()).unsigned()).unwrap();
    assert!(plain.publish(&[outgoing("1", None)]).await[0].is_err());
    let plain_server = Server::start(|_| Reply::Status(200)).await;
    let own = Tls::own(authority.pem().as_bytes(), None).unwrap();
    let says = publish(&plain_server, "localhost", Some(own)).await.unwrap_err();
    assert!(!says.is_empty());
}

#[test]
fn wrong_tls_settings_say_what_is_wrong() {
    assert!(Tls::own(b"nothing", None).unwrap_err().to_string().contains("PEM"));
    let authority = authority();
    let pem = authority.pem();
    assert!(Tls::own(pem.as_bytes(), Some((pem.as_bytes(), b"no key"))).is_err());
}
