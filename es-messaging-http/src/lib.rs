//! Webhooks: messages to others by signed HTTP POST, and what checks them on the other side.
//!
//! - [`Webhook`] is a [`Publisher`](es_messaging::Publisher): retries, breaker and dead letters are those of whatever relays to it.
//! - [`WebhookVerifier`] belongs to the receiving side, in whatever web framework.
//! - Signatures are those of the Standard Webhooks specification, messages those of the HTTP binding of CloudEvents.
//!
//! ```
//! use es_messaging::Message;
//! use es_messaging_http::{Webhook, WebhookConfig, WebhookSecret, WebhookVerifier};
//!
//! let secret = WebhookSecret::generate()?;
//! let webhook = Webhook::new(WebhookConfig::new("https://shop.example/hooks").secret(secret.clone()).public_addresses_only())?;
//!
//! // On the other side, with the headers and the body as they came:
//! let verifier = WebhookVerifier::new([secret])?;
//! let no_headers: [(&str, &str); 0] = [];
//! assert_eq!(verifier.verify(no_headers, b"{}").unwrap_err().status(), 400);
//! # let _ = webhook;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod addresses;
mod answer;
mod binding;
mod client;
mod config;
mod connector;
mod endpoint;
pub mod limits;
mod secret;
mod signature;
mod tls;
mod verifier;
mod webhook;

pub use addresses::Addresses;
pub use client::{HttpAnswer, HttpClient, HttpClientConfig, HttpError, HttpRequest};
pub use config::WebhookConfig;
pub use endpoint::Endpoint;
pub use es_messaging::ContentMode;
pub use secret::{SecretError, WebhookSecret};
pub use tls::Tls;
pub use verifier::{SignedRequest, WebhookError, WebhookVerifier};
pub use webhook::Webhook;
