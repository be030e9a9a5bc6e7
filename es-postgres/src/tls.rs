//! TLS: what the options ask for, and why it failed.

use es_core::{BoxError, StoreError};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// A certificate or key: the path of a file in PEM, or the PEM text itself.
#[derive(Clone)]
pub(crate) struct Pem(String);

impl Pem {
    pub(crate) fn new(path_or_text: String) -> Self {
        Self(path_or_text)
    }

    fn is_text(&self) -> bool {
        self.0.trim_start().starts_with("-----BEGIN")
    }

    /// Checks that it holds what it should, before a connection fails for a reason that seems to be another one.
    fn check(&self, parameter: &str, label: &str) -> Result<(), StoreError> {
        let setup = |problem: String, source: Option<BoxError>| StoreError::Setup {
            problem,
            remedy: format!("give the path of a file in PEM that this user may read, or its text, as {parameter}"),
            source,
        };
        let read;
        let text = if self.is_text() {
            &self.0
        } else {
            read = std::fs::read_to_string(&self.0).map_err(|error| {
                setup(format!("the file {:?} of {parameter} cannot be read", self.0), Some(error.into()))
            })?;
            &read
        };
        let begins = |line: &str| line.starts_with("-----BEGIN ") && line.contains(label);
        match text.lines().any(|line| begins(line.trim())) {
            true => Ok(()),
            false => Err(setup(format!("{parameter} holds no {}", label.to_lowercase()), None)),
        }
    }
}

/// What was asked for by methods, or by a URL.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    pub(crate) mode: Option<PgSslMode>,
    pub(crate) root: Option<Pem>,
    pub(crate) client_certificate: Option<Pem>,
    pub(crate) client_key: Option<Pem>,
}

impl Tls {
    /// What another one asks for, and where that says nothing, this one.
    pub(crate) fn or_else(self, other: Self) -> Self {
        Self {
            mode: self.mode.or(other.mode),
            root: self.root.or(other.root),
            client_certificate: self.client_certificate.or(other.client_certificate),
            client_key: self.client_key.or(other.client_key),
        }
    }

    /// Puts it into the options of a connection. `knows_all` unless the options hold certificates that are not in `self`.
    ///
    /// # Errors
    /// [`StoreError::Setup`] for a file that cannot be read, and for a client certificate without its key.
    pub(crate) fn apply(&self, mut options: PgConnectOptions, knows_all: bool) -> Result<PgConnectOptions, StoreError> {
        if let Some(mode) = self.mode {
            options = options.ssl_mode(mode);
        }
        // The driver treats `allow` as `disable`.
        if matches!(options.get_ssl_mode(), PgSslMode::Allow) {
            options = options.ssl_mode(PgSslMode::Prefer);
        }
        match &self.root {
            Some(root) => {
                root.check("sslrootcert", "CERTIFICATE")?;
                options = match root.is_text() {
                    true => options.ssl_root_cert_from_pem(root.0.clone().into_bytes()),
                    false => options.ssl_root_cert(&root.0),
                };
                // As with libpq: a mode that asks for encryption checks the certificate if it can.
                if matches!(options.get_ssl_mode(), PgSslMode::Require) {
                    options = options.ssl_mode(PgSslMode::VerifyCa);
                }
            }
            None if knows_all && verifies(&options) => options = with_public_roots(options),
            None => {}
        }
        match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => {
                certificate.check("sslcert", "CERTIFICATE")?;
                key.check("sslkey", "PRIVATE KEY")?;
                options = match certificate.is_text() {
                    true => options.ssl_client_cert_from_pem(&certificate.0),
                    false => options.ssl_client_cert(&certificate.0),
                };
                Ok(match key.is_text() {
                    true => options.ssl_client_key_from_pem(&key.0),
                    false => options.ssl_client_key(&key.0),
                })
            }
            (None, None) => Ok(options),
            _ => Err(StoreError::Setup {
                problem: "a client certificate needs its key, and a key its certificate".to_owned(),
                remedy: "give both sslcert and sslkey".to_owned(),
                source: None,
            }),
        }
    }
}

fn verifies(options: &PgConnectOptions) -> bool {
    matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull)
}

/// Trusts the public authorities whether the system has a list of them or not: a small container has none.
#[cfg(feature = "tls")]
fn with_public_roots(options: PgConnectOptions) -> PgConnectOptions {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        pem.push_str(&STANDARD.encode(certificate));
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    options.ssl_root_cert_from_pem(pem.into_bytes())
}

#[cfg(not(feature = "tls"))]
fn with_public_roots(options: PgConnectOptions) -> PgConnectOptions {
    options
}

/// What it means that a connection by TLS could not be opened, or `None` if TLS was not the reason.
pub(crate) fn explain(error: &sqlx::Error, server: &str) -> Option<(String, &'static str)> {
    if let Some(explained) = of_handshake(error, server) {
        return Some(explained);
    }
    match error {
        sqlx::Error::Tls(_) if !cfg!(feature = "tls") => Some((
            format!("sslmode asks for TLS to {server}, and this program was built without it"),
            "build it with the feature `tls` of es-postgres",
        )),
        sqlx::Error::Tls(source) => Some((
            format!("the server {server} does not offer TLS: {source}"),
            "turn `ssl` on in the server's postgresql.conf; or, where nobody can listen, connect with sslmode=disable",
        )),
        sqlx::Error::Configuration(source) => {
            Some((format!("the connection to {server} cannot be set up: {source}"), "correct the URL or the options"))
        }
        _ => None,
    }
}

#[cfg(feature = "tls")]
fn of_handshake(error: &sqlx::Error, server: &str) -> Option<(String, &'static str)> {
    use rustls::{CertificateError as Refused, Error};
    let error = match error {
        sqlx::Error::Tls(source) => source.downcast_ref::<Error>()?,
        sqlx::Error::Io(error) => error.get_ref()?.downcast_ref::<Error>()?,
        _ => return None,
    };
    Some(match error {
        Error::InvalidCertificate(Refused::NotValidForName | Refused::NotValidForNameContext { .. }) => (
            format!("the certificate of the server {server} is for another name"),
            "connect by a name in the certificate, or give the server a certificate for this name",
        ),
        // Another authority may have the same name.
        Error::InvalidCertificate(Refused::UnknownIssuer | Refused::BadSignature) => (
            format!("the certificate of the server {server} comes from an authority that is not trusted"),
            "trust the authority: give its certificate as sslrootcert in the URL or by PgOptions::ssl_root_cert",
        ),
        Error::InvalidCertificate(why) => {
            (format!("the certificate of the server {server} is refused: {why}"), "give the server a valid certificate")
        }
        Error::AlertReceived(alert) => (
            format!("the server {server} refuses the TLS connection: {alert:?}"),
            "give a client certificate that the server trusts, with its key, as sslcert and sslkey in the URL or by \
             PgOptions::ssl_client_cert",
        ),
        other => (
            format!("the TLS connection to {server} failed: {other}"),
            "check that PostgreSQL listens there, and which certificates and versions of TLS it takes",
        ),
    })
}

#[cfg(not(feature = "tls"))]
fn of_handshake(_: &sqlx::Error, _: &str) -> Option<(String, &'static str)> {
    None
}
