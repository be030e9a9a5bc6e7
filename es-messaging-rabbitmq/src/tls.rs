//! TLS.

use std::fmt;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};

/// Whom to trust, and who this client is; all in PEM.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    pub(crate) authorities: Option<String>,
    pub(crate) identity: Option<(String, String)>,
}

impl Tls {
    pub(crate) fn config(&self) -> OwnedTLSConfig {
        let identity = self.identity.clone();
        OwnedTLSConfig {
            identity: identity.map(|(pem, key)| OwnedIdentity::PKCS8 { pem: pem.into_bytes(), key: key.into_bytes() }),
            cert_chain: self.authorities.clone(),
        }
    }
}

impl fmt::Debug for Tls {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("has_authorities", &self.authorities.is_some())
            .field("has_identity", &self.identity.is_some())
            .finish()
    }
}
