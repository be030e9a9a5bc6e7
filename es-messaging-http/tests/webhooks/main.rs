//! Webhooks against a real server on loopback.

mod answers;
mod order;
mod relayed;
mod server;
mod signatures;
#[cfg(feature = "tls")]
mod tls;
