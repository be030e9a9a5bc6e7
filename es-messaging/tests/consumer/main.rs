//! Consumers of messages, over the store in memory and a broker that does what a test tells it.

mod dead_letters;
mod effects;
mod failures;
#[cfg(feature = "metrics")]
mod metrics;
mod policies;
#[cfg(feature = "metrics")]
#[path = "../recorder/mod.rs"]
mod recorder;
mod running;
mod stalls;
mod support;
