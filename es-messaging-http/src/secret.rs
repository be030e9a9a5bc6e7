//! Secrets that webhooks are signed with.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use crate::limits;

const PREFIX: &str = "whsec_";

/// A secret that both sides of a webhook know. Never shown, but by [`reveal`](Self::reveal).
#[derive(Clone)]
pub struct WebhookSecret {
    bytes: Vec<u8>,
    key: hmac::Key,
}

/// Why something is no secret. It does not show what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It is not written as a secret.
    #[error("a secret is `whsec_` and base64 behind it")]
    Form,
    /// It is too short to be safe, or longer than anybody needs.
    #[error("a secret has {actual} bytes, and should have from {min} to {max}", min = limits::MIN_SECRET_BYTES, max = limits::MAX_SECRET_BYTES)]
    Length {
        /// How long it is.
        actual: usize,
    },
    /// There are none, or too many.
    #[error("{actual} secrets, and there should be from 1 to {max}", max = limits::MAX_SECRETS)]
    Count {
        /// How many there are.
        actual: usize,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl WebhookSecret {
    /// Reads a secret: `whsec_` and base64 behind it.
    ///
    /// # Errors
    /// [`SecretError`], which does not show it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(SecretError::Form)?;
        Self::from_bytes(STANDARD.decode(encoded).map_err(|_| SecretError::Form)?)
    }

    /// A secret of bytes, from [`limits::MIN_SECRET_BYTES`] to [`limits::MAX_SECRET_BYTES`].
    ///
    /// # Errors
    /// [`SecretError::Length`].
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = bytes.into();
        if !(limits::MIN_SECRET_BYTES..=limits::MAX_SECRET_BYTES).contains(&bytes.len()) {
            return Err(SecretError::Length { actual: bytes.len() });
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Ok(Self { bytes, key })
    }

    /// A new secret of 32 random bytes.
    ///
    /// # Errors
    /// [`SecretError::Random`].
    pub fn generate() -> Result<Self, SecretError> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| SecretError::Random)?;
        Self::from_bytes(bytes)
    }

    /// The secret as text, to be given to the other side.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.bytes))
    }

    pub(crate) fn key(&self) -> &hmac::Key {
        &self.key
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_survives_its_text_and_is_shown_by_nothing_else() {
        let secret = WebhookSecret::generate().unwrap();
        let text = secret.reveal();
        assert_eq!(WebhookSecret::parse(&text).unwrap().reveal(), text);
        assert_ne!(WebhookSecret::generate().unwrap().reveal(), text);
        assert_eq!(format!("{secret:?}"), "WebhookSecret(..)");
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_shown() {
        let error = |text: &str| WebhookSecret::parse(text).unwrap_err();
        assert_eq!(error("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), SecretError::Form);
        assert_eq!(error("whsec_not base64"), SecretError::Form);
        assert_eq!(error("whsec_c2hvcnQ="), SecretError::Length { actual: 5 });
        assert_eq!(WebhookSecret::from_bytes([7; 65]).unwrap_err(), SecretError::Length { actual: 65 });
    }
}
