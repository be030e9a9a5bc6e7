//! How TLS is done.

#[cfg(feature = "tls")]
use std::{fmt, sync::Arc};

#[cfg(feature = "tls")]
use es_messaging::BrokerError;
#[cfg(feature = "tls")]
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// How TLS is done: whom to trust, and which certificate to show. The authorities of the web, and none, if nothing is said.
#[cfg(feature = "tls")]
#[derive(Clone)]
pub struct Tls {
    pub(crate) config: Arc<ClientConfig>,
}

/// TLS, which this build does without: the feature `tls` brings it.
#[cfg(not(feature = "tls"))]
#[derive(Debug, Clone)]
pub struct Tls {
    _none: std::convert::Infallible,
}

#[cfg(feature = "tls")]
impl Tls {
    /// Trusts the authorities of the web, as Mozilla lists them.
    ///
    /// # Errors
    /// [`BrokerError::Config`] if rustls does not take its own settings.
    pub fn web() -> Result<Self, BrokerError> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::new(roots, None)
    }

    /// Trusts one's own authorities alone (certificates as PEM), and shows a certificate (chain and key as PEM) to who asks for one.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for what is no PEM, or a certificate and a key that do not fit.
    pub fn own(authorities_pem: &[u8], certificate_and_key_pem: Option<(&[u8], &[u8])>) -> Result<Self, BrokerError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authorities_pem)? {
            roots.add(certificate).map_err(|error| config(&error))?;
        }
        if roots.is_empty() {
            let reason = "there is no certificate in it; it should be PEM".to_owned();
            return Err(BrokerError::Config { what: "the authorities of TLS".to_owned(), reason });
        }
        Self::new(roots, certificate_and_key_pem)
    }

    fn new(roots: RootCertStore, identity: Option<(&[u8], &[u8])>) -> Result<Self, BrokerError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| config(&error))?;
        let builder = builder.with_root_certificates(roots);
        let mut settings = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| config(&error))?;
                builder.with_client_auth_cert(certificates(chain)?, key).map_err(|error| config(&error))?
            }
        };
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(settings) })
    }
}

#[cfg(feature = "tls")]
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BrokerError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| config(&error))
}

#[cfg(feature = "tls")]
fn config(error: &dyn std::error::Error) -> BrokerError {
    BrokerError::Config { what: "the TLS settings".to_owned(), reason: error.to_string() }
}

#[cfg(feature = "tls")]
impl fmt::Debug for Tls {
    /// Shows nothing: there is a private key in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
