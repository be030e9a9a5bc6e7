//! Throwaway message brokers.

pub mod moto;
mod port_server;
pub mod tansu;
