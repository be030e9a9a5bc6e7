//! Relays of events and of the outbox, over the store in memory and the real runner.

mod breaker;
mod claim_check;
mod dead_letters;
mod kills;
mod mapping;
mod order;
mod outages;
mod outbox;
mod outbox_sharing;
mod publisher;
mod retriers;
mod running;
mod support;
