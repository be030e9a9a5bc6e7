//! Subscriptions, against the store in memory.

mod dropping;
mod durability;
mod handing_over;
mod pacing;
mod support;
mod troubles;
mod typed;
mod watched_store;
