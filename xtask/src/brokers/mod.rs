//! Throwaway message brokers.

pub mod moto;
pub mod nats;
pub mod rabbitmq;
pub mod redis;
pub mod tansu;

/// A port of 127.0.0.1 where nobody listens.
///
/// # Errors
///
/// [`ServerError::NoFreePort`](crate::ServerError::NoFreePort).
pub fn free_port() -> Result<u16, crate::ServerError> {
    crate::port::free()
}
