//! Consumers of messages, over the store in memory and a broker that does what a test tells it.

mod dead_letters;
mod effects;
mod failures;
mod policies;
mod running;
mod stalls;
mod support;
