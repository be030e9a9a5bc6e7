//! Messages over Kafka.
