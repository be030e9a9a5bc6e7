//! A shop and two shipping processes are killed at random, and the broker with them or its connections cut, while 20 000 orders (2 000
//! over SQS) go through: each is shipped exactly once, over every broker.
//!
//! `ES_ORDERS` says how many orders, `ES_SOAK_SECONDS` for how long things are killed, `ES_TEST_SEED` at which moments.

#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "kafka", feature = "nats", feature = "rabbitmq", feature = "redis", feature = "sqs"))]
mod services;
#[cfg(feature = "sqs")]
mod sqs;
