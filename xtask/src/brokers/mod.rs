//! Throwaway message brokers.

mod plain;

pub mod nats;
pub mod redis;
