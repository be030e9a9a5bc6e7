//! Throwaway message brokers.

pub mod rabbitmq;
