//! Redis Streams as a broker.
