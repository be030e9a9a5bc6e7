//! TLS: whom to trust, and who one is.

use std::fmt;

use redis::{Client, ClientTlsConfig, RedisError, TlsCertificates};

/// Settings of TLS. What is not said is as the machine has it.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// In PEM.
    pub(crate) authorities: Option<String>,
    /// A certificate and its key, in PEM.
    pub(crate) identity: Option<(String, String)>,
}

impl Tls {
    fn is_set(&self) -> bool {
        self.authorities.is_some() || self.identity.is_some()
    }

    /// A client for a URL, which has to be one of TLS if anything of TLS was set.
    pub(crate) fn client(&self, url: &str) -> Result<Client, RedisError> {
        // Without one that was chosen for the process, the one that is compiled in.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if !self.is_set() {
            return Client::open(url);
        }
        let client_tls = self.identity.as_ref().map(|(certificate, key)| ClientTlsConfig {
            client_cert: certificate.clone().into_bytes(),
            client_key: key.clone().into_bytes(),
        });
        let root_cert = self.authorities.clone().map(String::into_bytes);
        Client::build_with_tls(url, TlsCertificates { client_tls, root_cert })
    }
}

impl fmt::Debug for Tls {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}
